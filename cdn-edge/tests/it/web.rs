//! A web origin that answers as scripted, byte by byte: whatever a server can do wrong, this one does.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) line: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Heard {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Step {
    Send(Vec<u8>),
    /// Goes on once there is a permit.
    Wait(Arc<Semaphore>),
    /// The same bytes without end, until the other side has enough.
    Flood(Vec<u8>),
    Close,
    /// Says nothing more and holds the connection.
    Stall,
    Reset,
}

/// What is answered, step by step.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reply(pub(crate) Vec<Step>);

impl Reply {
    /// A well-formed answer with its length.
    pub(crate) fn new(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let length = body.len().to_string();
        let mut headers = headers.to_vec();
        if matches!(status, 204 | 304) {
            return Self::raw(head(status, &headers));
        }
        headers.push(("Content-Length", &length));
        Self::raw(head(status, &headers)).then(Step::Send(body.to_vec()))
    }

    /// The same with a chunk for each piece.
    pub(crate) fn chunked(headers: &[(&str, &str)], pieces: &[&[u8]], trailers: &[(&str, &str)]) -> Self {
        let mut headers = headers.to_vec();
        headers.push(("Transfer-Encoding", "chunked"));
        let mut reply = Self::raw(head(200, &headers));
        for piece in pieces {
            let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
            reply = reply.then(Step::Send(chunk));
        }
        let trailers: String = trailers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        reply.then(Step::Send(format!("0\r\n{trailers}\r\n").into_bytes()))
    }

    pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self(vec![Step::Send(bytes.into())])
    }

    pub(crate) fn then(mut self, step: Step) -> Self {
        self.0.push(step);
        self
    }
}

fn head(status: u16, headers: &[(&str, &str)]) -> String {
    let fields: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("HTTP/1.1 {status} Scripted\r\n{fields}\r\n")
}

type Scripts = HashMap<String, VecDeque<Reply>>;

#[derive(Clone, Default)]
pub(crate) struct Web {
    pub(crate) url: String,
    scripts: Arc<Mutex<Scripts>>,
    heard: Arc<Mutex<Vec<Heard>>>,
    connections: Arc<Mutex<usize>>,
}

impl Web {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let web = Self { url: format!("http://{}", listener.local_addr().unwrap()), ..Self::default() };
        let serving = web.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *serving.connections.lock().unwrap() += 1;
                let web = serving.clone();
                // A client that leaves ends only its own connection.
                tokio::spawn(async move { web.serve(stream).await.ok() });
            }
        });
        web
    }

    /// What is answered under a path, in turn; the last one from then on. Where nothing is for a path with its query, what
    /// is for the path alone.
    pub(crate) fn put(&self, path: &str, replies: impl IntoIterator<Item = Reply>) {
        self.scripts.lock().unwrap().insert(path.into(), replies.into_iter().collect());
    }

    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    pub(crate) fn last(&self) -> Heard {
        self.heard().pop().expect("a request came")
    }

    pub(crate) fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }

    fn reply(&self, target: &str) -> Reply {
        let mut scripts = self.scripts.lock().unwrap();
        let path = target.split('?').next().filter(|_| !scripts.contains_key(target));
        match scripts.get_mut(path.unwrap_or(target)) {
            Some(script) if script.len() > 1 => script.pop_front().unwrap(),
            Some(script) => script[0].clone(),
            None => Reply::new(404, &[], "nothing is scripted"),
        }
    }

    async fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        while let Some(heard) = read(&mut stream).await? {
            let target = heard.line.split(' ').nth(1).unwrap_or_default().to_owned();
            let is_head = heard.line.starts_with("HEAD ");
            self.heard.lock().unwrap().push(heard);
            let mut steps = self.reply(&target).0.into_iter();
            if is_head {
                // Only the head of what a GET would get.
                steps = steps.take(1).collect::<Vec<_>>().into_iter();
            }
            for step in steps {
                match step {
                    Step::Send(bytes) => stream.write_all(&bytes).await?,
                    Step::Wait(gate) => gate.acquire().await.unwrap().forget(),
                    Step::Flood(bytes) => loop {
                        stream.write_all(&bytes).await?;
                    },
                    Step::Close => return stream.shutdown().await,
                    Step::Stall => tokio::time::sleep(Duration::from_secs(3600)).await,
                    Step::Reset => {
                        socket2::SockRef::from(stream.get_ref()).set_linger(Some(Duration::ZERO))?;
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<Heard>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let line = line.trim_end_matches(['\r', '\n']).to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let mut headers = HeaderMap::new();
    for line in &lines[1..] {
        let (name, value) = line.split_once(':').unwrap();
        headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value.trim()).unwrap());
    }
    let mut body = Vec::new();
    if headers.get("transfer-encoding").is_some() {
        loop {
            let mut size = String::new();
            stream.read_line(&mut size).await?;
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            let mut chunk = vec![0; size + 2];
            stream.read_exact(&mut chunk).await?;
            body.extend_from_slice(&chunk[..size]);
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = headers.get("content-length") {
        body.resize(length.to_str().unwrap().parse().unwrap(), 0);
        stream.read_exact(&mut body).await?;
    }
    Ok(Some(Heard { line: lines[0].clone(), headers, body }))
}
