//! Speaking with one tool server over a pair of streams: one request at a time, each answered or given up within its time. Knows nothing
//! of what carries the streams.

use crate::wire::{self, Answer, BUILD, Hello, Request};
use serde::de::DeserializeOwned;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

/// A stream from a tool server.
pub(crate) type Reader = Box<dyn AsyncRead + Send + Unpin>;
/// A stream to a tool server; closing it ends the server.
pub(crate) type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// The server does not answer any more, and why as far as the streams tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gone(pub(crate) String);

/// A conversation. Dropping it closes the stream to the server, which ends it.
#[derive(Debug)]
pub(crate) struct Session {
    asks: mpsc::Sender<Ask>,
    gone: Arc<OnceLock<String>>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Ask {
    request: Request,
    limit: Duration,
    answer: oneshot::Sender<Answer>,
}

impl Session {
    /// Takes the server's greeting.
    pub(crate) async fn open(
        mut reader: Reader,
        writer: Writer,
        limit: Duration,
    ) -> Result<(Self, Hello), Gone> {
        let hello = tokio::time::timeout(limit, read::<Hello>(&mut reader)).await;
        let hello = match hello {
            Ok(Ok(hello)) => hello,
            Ok(Err(error)) => return Err(Gone(format!("the tool server did not greet: {error}"))),
            Err(_) => return Err(Gone(format!("the tool server did not greet within {limit:?}"))),
        };
        if hello.build != BUILD {
            let (theirs, ours) = (&hello.build, BUILD);
            return Err(Gone(format!("the tool server is of build `{theirs}`, this process of `{ours}`")));
        }
        let (asks, inbox) = mpsc::channel(1);
        let gone = Arc::new(OnceLock::new());
        let task = tokio::spawn(converse(reader, writer, inbox, Arc::clone(&gone)));
        Ok((Self { asks, gone, _task: AbortOnDropHandle::new(task) }, hello))
    }

    /// Asks and waits for the answer. After one failure all later calls fail.
    pub(crate) async fn ask(&self, request: Request, limit: Duration) -> Result<Answer, Gone> {
        let (answer, answered) = oneshot::channel();
        let ended = || Gone(self.gone.get().cloned().unwrap_or_else(|| "the conversation ended".to_owned()));
        self.asks.send(Ask { request, limit, answer }).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())
    }
}

async fn converse(
    mut reader: Reader,
    mut writer: Writer,
    mut inbox: mpsc::Receiver<Ask>,
    gone: Arc<OnceLock<String>>,
) {
    while let Some(ask) = inbox.recv().await {
        let exchange = async {
            let frame = wire::frame(&ask.request)?;
            drop(ask.request);
            writer.write_all(&frame).await?;
            writer.flush().await?;
            drop(frame);
            read::<Answer>(&mut reader).await
        };
        let trouble = match tokio::time::timeout(ask.limit, exchange).await {
            Ok(Ok(answer)) => {
                // Whoever asked may have gone away; the conversation is whole all the same.
                let _unheard = ask.answer.send(answer);
                continue;
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                "the tool server ended".to_owned()
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {:?}", ask.limit),
        };
        // Set before the asker learns that there is no answer.
        let _first = gone.set(trouble);
        return;
    }
}

async fn read<T: DeserializeOwned>(reader: &mut Reader) -> io::Result<T> {
    let mut prefix = [0; 4];
    reader.read_exact(&mut prefix).await?;
    let mut bytes = vec![0; wire::length_of(prefix)?];
    reader.read_exact(&mut bytes).await?;
    wire::parse(&bytes)
}
