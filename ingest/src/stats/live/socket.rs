//! The live figures over a WebSocket.
//!
//! Clients have nothing to say here but pings and a close; what else they send is read, bounded and
//! ignored. One that takes no message in time, or answers no ping, is let go.

use std::ops::ControlFlow;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use service::http::Place;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use wire::live::LIVE_PROTOCOL;

use super::subscribe::{End, Subscriber};

/// The longest message a client may send.
const MOST_SENT: usize = 4 << 10;
/// And how many between two pings.
const MOST_MESSAGES: u32 = 100;
/// What may wait for the socket: one message of a hundred tracks and a hundred POPs, and control frames.
const MOST_WAITING: usize = 256 << 10;
/// How long one message may take to leave.
const SEND: Duration = Duration::from_secs(10);
const PING: Duration = Duration::from_secs(15);
/// How long after our close frame the client's is waited for.
const CLOSING: Duration = Duration::from_secs(2);

/// A close frame's code and reason.
type Farewell = (u16, &'static str);

const TOO_MANY: Farewell = (close_code::POLICY, "too many messages: there is nothing to say here");
const NO_PONG: Farewell = (close_code::POLICY, "a ping was not answered in time");

pub(super) fn serve(upgrade: WebSocketUpgrade, subscriber: Subscriber, place: Place) -> Response {
    upgrade
        .protocols([LIVE_PROTOCOL])
        .max_message_size(MOST_SENT)
        .max_frame_size(MOST_SENT)
        .read_buffer_size(MOST_SENT)
        .write_buffer_size(0)
        .max_write_buffer_size(MOST_WAITING)
        .on_upgrade(|socket| async move {
            let _place = place;
            Connection::new(socket, subscriber).run().await;
        })
}

struct Connection {
    socket: WebSocket,
    subscriber: Subscriber,
    pings: Interval,
    answered: bool,
    /// Messages of the client since the last ping.
    said: u32,
}

impl Connection {
    fn new(socket: WebSocket, subscriber: Subscriber) -> Self {
        let mut pings = tokio::time::interval_at(Instant::now() + PING, PING);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { socket, subscriber, pings, answered: true, said: 0 }
    }

    async fn run(mut self) {
        loop {
            if let ControlFlow::Break(farewell) = self.step().await {
                return self.close(farewell).await;
            }
        }
    }

    /// Breaks with what the close frame says; with nothing where the client is gone.
    async fn step(&mut self) -> ControlFlow<Option<Farewell>> {
        tokio::select! {
            biased;
            said = self.socket.recv() => match said {
                Some(Ok(message)) => self.hear(&message),
                // Gone, or what it sent was no WebSocket's or too long: there is nobody to tell.
                Some(Err(_)) | None => ControlFlow::Break(None),
            },
            _ = self.pings.tick() => self.ping().await,
            next = self.subscriber.next() => match next {
                Ok(message) => self.send(Message::Text(message)).await,
                Err(end) => ControlFlow::Break(Some(farewell(end))),
            },
        }
    }

    fn hear(&mut self, message: &Message) -> ControlFlow<Option<Farewell>> {
        self.said += 1;
        match message {
            Message::Close(_) => ControlFlow::Break(None),
            _ if self.said > MOST_MESSAGES => ControlFlow::Break(Some(TOO_MANY)),
            Message::Pong(_) => {
                self.answered = true;
                ControlFlow::Continue(())
            }
            Message::Text(_) | Message::Binary(_) | Message::Ping(_) => ControlFlow::Continue(()),
        }
    }

    async fn ping(&mut self) -> ControlFlow<Option<Farewell>> {
        if !self.answered {
            return ControlFlow::Break(Some(NO_PONG));
        }
        self.answered = false;
        self.said = 0;
        self.send(Message::Ping(bytes::Bytes::new())).await
    }

    async fn send(&mut self, message: Message) -> ControlFlow<Option<Farewell>> {
        match tokio::time::timeout(SEND, self.socket.send(message)).await {
            Ok(Ok(())) => ControlFlow::Continue(()),
            // Too slow or gone; a close frame would not get through either.
            Ok(Err(_)) | Err(_) => ControlFlow::Break(None),
        }
    }

    /// Says why, and waits a little for the client's own close frame, so that it sees ours before the end.
    async fn close(mut self, farewell: Option<Farewell>) {
        let Some((code, reason)) = farewell else { return };
        let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
        let closed = async {
            self.socket.send(Message::Close(Some(frame))).await?;
            while let Some(message) = self.socket.recv().await {
                message?;
            }
            Ok::<_, axum::Error>(())
        };
        // Whether the client was still there makes no difference any more.
        let _ = tokio::time::timeout(CLOSING, closed).await;
    }
}

fn farewell(end: End) -> Farewell {
    let code = match end {
        End::Stopping => close_code::AWAY,
        End::Revoked => close_code::POLICY,
    };
    (code, end.as_str())
}
