//! A new migration is a reason to compile `sqlx::migrate!` again; Cargo does not see it otherwise.

fn main() {
    println!("cargo:rerun-if-changed=../migrations/postgres");
}
