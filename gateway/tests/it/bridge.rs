//! A bridge between clients and a gateway. The clients know no compression; the bridge offers it to the gateway,
//! inflates what the gateway sends, and compresses what the clients send, in frames of any size.

use std::{
    io::Cursor,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use deflate::Inflater;
use flate2::{Compress, Compression, FlushCompress};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
};
use tokio_tungstenite::tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Data, OpCode},
};
use tokio_util::task::AbortOnDropHandle;

const MASK: [u8; 4] = [7, 0, 200, 3];

pub struct Bridge {
    pub address: String,
    pub traffic: Arc<Traffic>,
    _serving: AbortOnDropHandle<()>,
}

/// What a bridge has carried from the gateway.
#[derive(Default)]
pub struct Traffic {
    compressed_bytes: AtomicU64,
    inflated_bytes: AtomicU64,
}

impl Traffic {
    /// How many bytes came, and what they became.
    pub fn bytes(&self) -> (u64, u64) {
        (self.compressed_bytes.load(Ordering::Relaxed), self.inflated_bytes.load(Ordering::Relaxed))
    }
}

impl Bridge {
    pub async fn start(gateway: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let traffic = Arc::new(Traffic::default());
        let serving = serve(listener, gateway.to_owned(), traffic.clone());
        Self { address, traffic, _serving: AbortOnDropHandle::new(tokio::spawn(serving)) }
    }
}

async fn serve(listener: TcpListener, gateway: String, traffic: Arc<Traffic>) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let Ok(gateway) = TcpStream::connect(&gateway).await else { continue };
        let traffic = traffic.clone();
        // An error means that one of the two is gone.
        tokio::spawn(async move { carry(client, gateway, &traffic).await.ok() });
    }
}

/// Carries one websocket, from its handshake on.
async fn carry(client: TcpStream, gateway: TcpStream, traffic: &Traffic) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    gateway.set_nodelay(true)?;
    let (from_client, mut to_client) = client.into_split();
    let (from_gateway, mut to_gateway) = gateway.into_split();
    let (mut from_client, mut from_gateway) = (BufReader::new(from_client), BufReader::new(from_gateway));
    let request = head(&mut from_client).await?;
    to_gateway.write_all(request.strip_suffix("\r\n").unwrap().as_bytes()).await?;
    to_gateway.write_all(b"sec-websocket-extensions: permessage-deflate; client_max_window_bits\r\n\r\n").await?;
    let answer = head(&mut from_gateway).await?;
    let (extensions, others): (Vec<&str>, Vec<&str>) =
        answer.split_inclusive("\r\n").partition(|line| line.to_lowercase().starts_with("sec-websocket-extensions:"));
    to_client.write_all(others.concat().as_bytes()).await?;
    if extensions.is_empty() {
        // The gateway refuses the client.
        return copy(&mut from_gateway, &mut to_client).await.map(drop);
    }
    tokio::select! {
        done = inflate(from_gateway, to_client, traffic) => done,
        done = compress(from_client, to_gateway) => done,
    }
}

async fn head(from: &mut BufReader<OwnedReadHalf>) -> std::io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if from.read_line(&mut head).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}

async fn inflate(mut from: BufReader<OwnedReadHalf>, mut to: OwnedWriteHalf, traffic: &Traffic) -> std::io::Result<()> {
    let (mut inflater, mut buffer, mut inflated) = (Inflater::default(), vec![0; 16_384], Vec::new());
    while let read @ 1.. = from.read(&mut buffer).await? {
        inflater.read(&buffer[..read], usize::MAX, &mut inflated).expect("the gateway's frames can be read");
        traffic.compressed_bytes.fetch_add(read as u64, Ordering::Relaxed);
        traffic.inflated_bytes.fetch_add(inflated.len() as u64, Ordering::Relaxed);
        to.write_all(&inflated).await?;
        inflated.clear();
    }
    Ok(())
}

/// Compresses every second text frame, into three frames.
async fn compress(mut from: BufReader<OwnedReadHalf>, mut to: OwnedWriteHalf) -> std::io::Result<()> {
    let (mut bytes, mut number) = (Vec::new(), 0);
    loop {
        if from.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
        let mut cursor = Cursor::new(&*bytes);
        while let Ok(Some((header, length))) = FrameHeader::parse(&mut cursor) {
            let (begin, end) = (cursor.position() as usize, cursor.position() as usize + length as usize);
            if end > bytes.len() {
                break;
            }
            let mask = header.mask.expect("clients mask their frames");
            let payload: Vec<u8> = bytes[begin..end].iter().zip(0..).map(|(byte, at)| byte ^ mask[at % 4]).collect();
            number += 1;
            match header.opcode == OpCode::Data(Data::Text) && number % 2 == 0 {
                true => to.write_all(&in_three(&payload)).await?,
                false => to.write_all(&bytes[..end]).await?,
            }
            bytes.drain(..end);
            cursor = Cursor::new(&*bytes);
        }
    }
}

fn in_three(message: &[u8]) -> Vec<u8> {
    let mut compressed = Vec::with_capacity(2 * message.len() + 100);
    Compress::new(Compression::fast(), false).compress_vec(message, &mut compressed, FlushCompress::Sync).unwrap();
    let compressed = compressed.strip_suffix(&[0, 0, 0xff, 0xff]).unwrap();
    let (first, rest) = compressed.split_at(compressed.len() / 2);
    [(Data::Text, first, false), (Data::Continue, &[][..], false), (Data::Continue, rest, true)]
        .into_iter()
        .flat_map(|(data, payload, is_last)| masked_frame(data, payload, is_last))
        .collect()
}

/// A frame of a compressed message as a client sends it.
pub fn masked_frame(data: Data, payload: &[u8], is_last: bool) -> Vec<u8> {
    let rsv1 = data == Data::Text;
    let header =
        FrameHeader { is_final: is_last, rsv1, opcode: OpCode::Data(data), mask: Some(MASK), ..FrameHeader::default() };
    let mut frame = Vec::new();
    header.format(payload.len() as u64, &mut frame).unwrap();
    frame.extend(payload.iter().zip(0..).map(|(byte, at): (_, usize)| byte ^ MASK[at % 4]));
    frame
}
