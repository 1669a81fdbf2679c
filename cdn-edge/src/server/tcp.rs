//! What TCP knows of a connection: round trip, what was sent again, how fast it delivers.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use service::http::rewound::Rewound;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// Between two looks at one connection: a warm hit is served in a hundredth of it and costs no call.
const EVERY: Duration = Duration::from_millis(100);

/// What the kernel says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TcpInfo {
    /// Smoothed, in microseconds.
    pub rtt_us: u32,
    /// Segments that were sent again since the connection began.
    pub retransmits: u32,
    /// What reached the client lately, in bytes a second; 0 where too little was sent to tell.
    pub delivery_rate: u64,
}

/// What a record says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpNote {
    pub rtt_us: u32,
    /// Since the record before it.
    pub retransmits: u32,
}

/// A stream with a TCP socket under it.
pub trait Wire {
    fn tcp(&self) -> &TcpStream;

    /// The socket where nothing stands between it and what is written.
    fn plain(&self) -> Option<&TcpStream> {
        None
    }
}

impl Wire for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }

    fn plain(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

impl Wire for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

impl<S: Wire> Wire for Rewound<S> {
    fn tcp(&self) -> &TcpStream {
        self.stream().tcp()
    }
}

/// The last look at a connection. Its socket writes it, its answers read it, all on one thread.
#[derive(Debug)]
pub struct Tcp {
    /// Nobody asks on this edge, and the kernel is left alone.
    wanted: bool,
    begun: Instant,
    /// Since `begun`.
    looked_ms: AtomicU64,
    known: AtomicBool,
    rtt_us: AtomicU32,
    retransmits: AtomicU32,
    delivery_rate: AtomicU64,
    /// Of the retransmits, what earlier records told.
    told: AtomicU32,
    /// It is to end so that nobody takes that for the end of a body.
    broken: AtomicBool,
}

impl Tcp {
    /// Looks once: the handshake has measured the round trip.
    #[must_use]
    pub fn new(stream: &impl Wire, wanted: bool) -> Self {
        let tcp = Self {
            wanted,
            begun: Instant::now(),
            looked_ms: AtomicU64::new(0),
            known: false.into(),
            rtt_us: AtomicU32::new(0),
            retransmits: AtomicU32::new(0),
            delivery_rate: AtomicU64::new(0),
            told: AtomicU32::new(0),
            broken: AtomicBool::new(false),
        };
        if wanted {
            tcp.keep(info(stream));
        }
        tcp
    }

    /// Looks again, unless that was a moment ago.
    pub fn look(&self, stream: &impl Wire, now: Instant) {
        if !self.wanted {
            return;
        }
        let since = u64::try_from(now.duration_since(self.begun).as_millis()).unwrap_or(u64::MAX);
        if Duration::from_millis(since.saturating_sub(self.looked_ms.load(Relaxed))) >= EVERY {
            self.looked_ms.store(since, Relaxed);
            self.keep(info(stream));
        }
    }

    fn keep(&self, info: Option<TcpInfo>) {
        let Some(info) = info else { return };
        self.rtt_us.store(info.rtt_us, Relaxed);
        self.retransmits.store(info.retransmits, Relaxed);
        self.delivery_rate.store(info.delivery_rate, Relaxed);
        self.known.store(true, Relaxed);
    }

    /// From here on the connection's end is a reset.
    pub fn break_off(&self) {
        self.broken.store(true, Relaxed);
    }

    /// What is left to do before the socket is closed.
    pub fn end(&self, stream: &impl Wire) {
        if self.broken.load(Relaxed) {
            // Where this fails, the client is gone.
            let _ = SockRef::from(stream.tcp()).set_linger(Some(Duration::ZERO));
        }
    }

    /// The last look; none where there was none.
    #[must_use]
    pub fn last(&self) -> Option<TcpInfo> {
        self.known.load(Relaxed).then(|| TcpInfo {
            rtt_us: self.rtt_us.load(Relaxed),
            retransmits: self.retransmits.load(Relaxed),
            delivery_rate: self.delivery_rate.load(Relaxed),
        })
    }

    /// For a record; what it tells of retransmits the next one does not tell again.
    pub fn note(&self) -> Option<TcpNote> {
        let last = self.last()?;
        let told = self.told.swap(last.retransmits, Relaxed);
        Some(TcpNote { rtt_us: last.rtt_us, retransmits: last.retransmits.saturating_sub(told) })
    }
}

fn info(stream: &impl Wire) -> Option<TcpInfo> {
    use std::os::fd::AsFd;
    read(stream.tcp().as_fd())
}

/// None on a system that does not tell.
#[allow(unsafe_code, reason = "no crate of ours wraps TCP_INFO; the kernel fills what we zeroed, up to its size")]
fn read(socket: BorrowedFd<'_>) -> Option<TcpInfo> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).expect("a few hundred bytes");
    // SAFETY: the descriptor is open as long as it is borrowed, and the kernel writes at most `length` bytes.
    let answer = unsafe {
        let (level, option) = (libc::IPPROTO_TCP, libc::TCP_INFO);
        libc::getsockopt(socket.as_raw_fd(), level, option, info.as_mut_ptr().cast(), &raw mut length)
    };
    if answer != 0 {
        return None;
    }
    // SAFETY: all of it was zeroed, and integers have no invalid bits.
    let info = unsafe { info.assume_init() };
    Some(TcpInfo {
        rtt_us: info.tcpi_rtt,
        retransmits: info.tcpi_total_retrans,
        delivery_rate: info.tcpi_delivery_rate,
    })
}
