//! Connections: one thread each, until the fake ends.

use std::fs::File;
use std::io::BufReader;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, PoisonError, Weak, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::sockopt::set_socket_linger;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::Shared;
use super::api::{self, Twist};
use super::fault::Fault;
use super::http::{self, Reply, Request};
use super::metadata;
use super::record::Record;

/// The Compute API.
const API: &str = "/compute/";
/// The resource manager's; everything else is the metadata server's.
const PROJECTS: &str = "/v1/projects/";

/// Listens until the other end of `end` is shut down.
pub(crate) fn start(shared: Arc<Shared>, namespace: Option<File>, end: UnixStream) -> (SocketAddr, JoinHandle<()>) {
    let (tell, told) = mpsc::channel();
    let thread = thread::spawn(move || {
        if let Some(namespace) = namespace {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        tell.send(listener.local_addr().unwrap()).unwrap();
        listen(&shared, &listener, &end);
    });
    (told.recv().unwrap(), thread)
}

fn listen(shared: &Arc<Shared>, listener: &TcpListener, end: &UnixStream) {
    // The listener does not hold the sockets: one that is to be reset must have one owner.
    let mut open: Vec<(JoinHandle<()>, Weak<TcpStream>)> = Vec::new();
    loop {
        let mut waited = [
            PollFd::new(listener, PollFlags::IN),
            PollFd::new(end, PollFlags::IN | PollFlags::HUP),
        ];
        let _ = poll(&mut waited, None);
        if !waited[1].revents().is_empty() {
            break;
        }
        let Ok((stream, _)) = listener.accept() else { continue };
        let _ = stream.set_nodelay(true);
        open.retain(|(thread, _)| !thread.is_finished());
        let (shared, stream) = (Arc::clone(shared), Arc::new(stream));
        let handle = Arc::downgrade(&stream);
        open.push((thread::spawn(move || serve(&shared, &stream)), handle));
    }
    for (thread, stream) in open {
        if let Some(stream) = stream.upgrade() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        let _ = thread.join();
    }
}

/// What becomes of a connection after a call.
enum Next {
    Answer(Reply),
    Close,
    Reset,
}

fn serve(shared: &Shared, stream: &TcpStream) {
    let (mut input, mut output) = (BufReader::new(stream), stream);
    while let Ok(Some(request)) = http::read(&mut input) {
        let place = {
            let mut state = shared.lock();
            state.records.push(Record::of(&request));
            shared.bell.notify_all();
            state.records.len() - 1
        };
        match meet(shared, &request, place) {
            Next::Answer(reply) => {
                shared.lock().records[place].answered(&reply);
                if http::write(&mut output, &reply).is_err() {
                    break;
                }
            }
            Next::Close => break,
            Next::Reset => {
                // Closing it without lingering sends a reset.
                let _ = set_socket_linger(stream, Some(Duration::ZERO));
                return;
            }
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
}

fn meet(shared: &Shared, request: &Request, place: usize) -> Next {
    let fault = {
        let mut state = shared.lock();
        let fault = state.script.take(request);
        let answers = matches!(fault, Some(Fault::Refused(_)));
        state.records[place].is_scripted = answers;
        fault
    };
    let mut twist = Twist::default();
    match fault {
        None => {}
        Some(Fault::Refused(problem)) => {
            if request.path.starts_with(API) {
                shared.lock().watch.call(request);
            }
            return Next::Answer(problem.reply());
        }
        Some(Fault::Reset { is_done }) => {
            if is_done {
                act(shared, request, &twist);
            }
            return Next::Reset;
        }
        Some(Fault::Silence { is_done, lasting }) => {
            if is_done {
                act(shared, request, &twist);
            }
            pause(shared, lasting);
            return Next::Close;
        }
        Some(Fault::Late(late)) => {
            let reply = act(shared, request, &twist);
            pause(shared, late);
            return Next::Answer(reply);
        }
        Some(Fault::Fails(problem)) => twist.fails = Some(problem),
        Some(Fault::Held) => twist.is_held = true,
    }
    Next::Answer(act(shared, request, &twist))
}

/// Does what a request asks for.
fn act(shared: &Shared, request: &Request, twist: &Twist) -> Reply {
    if request.path.starts_with(PROJECTS) {
        return api::permitted(&mut shared.lock(), request);
    }
    if !request.path.starts_with(API) {
        return metadata::answer(&mut shared.lock(), request);
    }
    if request.method == "POST" && request.path.ends_with("/wait") {
        wait(shared, request);
    }
    let reply = api::answer(&mut shared.lock(), request, twist);
    shared.bell.notify_all();
    reply
}

/// Blocks until the operation is done, as long as the service has patience.
fn wait(shared: &Shared, request: &Request) {
    let segments = request.segments();
    let [.., name, "wait"] = segments[..] else { return };
    let mut state = shared.lock();
    let deadline = Instant::now() + state.settings.patience;
    loop {
        let now = Instant::now();
        let Some(operation) = state.operations.get(name).filter(|operation| operation.end.is_none()) else {
            return;
        };
        if state.is_over || now >= deadline {
            return;
        }
        let next = operation
            .due
            .unwrap_or(deadline)
            .min(deadline)
            .saturating_duration_since(now);
        let next = next + Duration::from_millis(1);
        (state, _) = shared
            .bell
            .wait_timeout(state, next)
            .unwrap_or_else(PoisonError::into_inner);
        state.settle();
    }
}

/// Sleeps, unless the fake ends.
fn pause(shared: &Shared, long: Duration) {
    let deadline = Instant::now() + long;
    let mut state = shared.lock();
    while !state.is_over && Instant::now() < deadline {
        let rest = deadline.saturating_duration_since(Instant::now());
        (state, _) = shared
            .bell
            .wait_timeout(state, rest)
            .unwrap_or_else(PoisonError::into_inner);
    }
}
