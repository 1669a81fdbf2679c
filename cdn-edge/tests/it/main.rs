//! The edge from outside: real listeners, the real S3 server, and for what a healthy S3 never does an
//! origin that does it on order.
#![allow(clippy::unwrap_used, reason = "a test that meets an error should stop there")]

mod admin;
mod bad_input;
mod cache_model;
mod cold;
mod conditional;
mod crowds;
mod deliveries;
mod disk;
mod failures;
mod fleet;
mod http2;
mod interim;
mod killed;
mod model;
mod overload;
mod purge;
mod purge_model;
mod reports;
mod rfc;
mod signed;
mod warm;
mod web_bad_days;
mod web_proxy;

mod catcher;
mod client;
mod origin;
mod stage;
mod web;
