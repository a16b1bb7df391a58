use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle, sleep};

use portcullis_core::value::Value;

use super::super::room::Room;
use super::*;

/// A client of a session whose engine answers with the words that it was asked, and never where the first is `hang`.
fn session(room: &Arc<Room>, role: Role) -> (UnixStream, JoinHandle<()>, Arc<AtomicUsize>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let place = room.admit(&Arc::new(ours), role).unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let mut hanging = Vec::new();
    let engine = std::sync::Mutex::new(move |Asked { verb, reply }: Asked| {
        count.fetch_add(1, Ordering::Relaxed);
        let Verb::Command(words) = verb else { return false };
        if words.first().and_then(Value::as_str) == Some("hang") {
            hanging.push(reply);
            return true;
        }
        reply.send(Reply::Done(Value::List(words))).is_ok()
    });
    let thread = thread::spawn(move || run(&place, &|asked| (engine.lock().unwrap())(asked)));
    theirs.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    (theirs, thread, asked)
}

fn request(words: &[&str]) -> Vec<u8> {
    let words = words.iter().map(|word| Value::from(*word)).collect();
    [pickle::encode(&Value::List(words)).as_slice(), END].concat()
}

/// The next reply, or nothing where the connection is closed.
fn reply(mut stream: &UnixStream) -> Option<Reply> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(END) {
        let mut byte = [0];
        if stream.read(&mut byte).unwrap() == 0 {
            assert!(bytes.is_empty());
            return None;
        }
        bytes.extend(byte);
    }
    Some(Reply::from_bytes(&bytes).unwrap())
}

fn done(words: &[&str]) -> Option<Reply> {
    Some(Reply::Done(Value::List(
        words.iter().map(|word| Value::from(*word)).collect(),
    )))
}

fn refused(stream: &UnixStream) -> String {
    match reply(stream) {
        Some(Reply::Refused(exception)) => exception.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn many_requests_in_pieces_and_at_once() {
    let (mut client, thread, _) = session(&Room::new(), Role::Owner);
    let all = [
        request(&["echo", "a"]),
        request(&["echo", "b"]),
        request(&["echo", "c"]),
    ]
    .concat();
    for piece in all.chunks(1) {
        client.write_all(piece).unwrap();
    }
    for word in ["a", "b", "c"] {
        assert_eq!(reply(&client), done(&["echo", word]));
    }
    client.write_all(&all).unwrap();
    for word in ["a", "b", "c"] {
        assert_eq!(reply(&client), done(&["echo", word]));
    }
    client.write_all(&[CLOSE, END].concat()).unwrap();
    assert_eq!(reply(&client), None);
    thread.join().unwrap();
}

#[test]
fn what_cannot_be_read_ends_nothing() {
    let (mut client, ..) = session(&Room::new(), Role::Owner);
    for (bytes, expect) in [
        (&b""[..], "ERROR: the pickle ends before it is complete"),
        (b"rubbish", "ERROR: malformed pickle at byte 1"),
        (
            b"cos\nsystem\n(S'id'\ntR.",
            "ERROR: GLOBAL (os.system) at byte 0 imports or calls something: refused",
        ),
        (b"x<F2B_CLOSE_COMMAND>", "ERROR: opcode 0x78 at byte 0 is not supported"),
        (b"\x80\x04].", "list index out of range"),
    ] {
        client.write_all(&[bytes, END].concat()).unwrap();
        assert!(
            refused(&client).starts_with(expect.split(" at ").next().unwrap()),
            "{expect}"
        );
    }
    client.write_all(&request(&["echo"])).unwrap();
    assert_eq!(reply(&client), done(&["echo"]));
}

#[test]
fn a_request_has_a_longest() {
    let (client, thread, asked) = session(&Room::new(), Role::Reader);
    let long = request(&["echo", &"x".repeat(LONGEST_OF_GUESTS)]);
    let mut writer = client.try_clone().unwrap();
    let writer = thread::spawn(move || writer.write_all(&long));
    assert_eq!(refused(&client), "ERROR: no request is longer than 65536 bytes");
    thread.join().unwrap();
    let _ = writer.join().unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    // One just below it is answered.
    let (mut client, ..) = session(&Room::new(), Role::Reader);
    let text = "x".repeat(LONGEST_OF_GUESTS - 100);
    client.write_all(&request(&["echo", &text])).unwrap();
    assert_eq!(reply(&client), done(&["echo", &text]));
}

#[test]
fn who_may_what() {
    let (mut reader, _, asked) = session(&Room::new(), Role::Reader);
    reader.write_all(&request(&["get", "sshd", "maxretry"])).unwrap();
    assert_eq!(reply(&reader), done(&["get", "sshd", "maxretry"]));
    reader.write_all(&request(&["set", "sshd", "maxretry", "1"])).unwrap();
    assert_eq!(
        refused(&reader),
        "your group may look, and change nothing; only root may"
    );
    reader.write_all(&request(&["stop"])).unwrap();
    refused(&reader);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    let (mut stranger, _, asked) = session(&Room::new(), Role::Stranger);
    stranger.write_all(&request(&["ping"])).unwrap();
    assert_eq!(refused(&stranger), "only root may ask, and whoever the daemon runs as");
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[test]
fn a_session_ends_with_its_client_while_the_engine_works() {
    let room = Room::new();
    let (mut waiting, thread, asked) = session(&room, Role::Owner);
    waiting.write_all(&request(&["hang"])).unwrap();
    while asked.load(Ordering::Relaxed) == 0 {
        sleep(Duration::from_millis(5));
    }
    let (mut other, ..) = session(&room, Role::Owner);
    other.write_all(&request(&["echo"])).unwrap();
    assert_eq!(reply(&other), done(&["echo"]), "nobody else is held up");
    drop(waiting);
    thread.join().unwrap();
}

/// More clients than have room, and with a few to spare for a refusal that comes late.
const MANY: usize = 24;

/// Each of many clients sends half of a large request and waits: what they have together stays below the cap, and who
/// comes after the last that fits is told so.
#[test]
fn all_sessions_have_a_memory_together() {
    let room = Room::new();
    let half = vec![b'x'; LONGEST_REQUEST / 2];
    let (mut clients, mut told) = (Vec::new(), Vec::new());
    while clients.len() < MANY && told.is_empty() {
        let (client, ..) = session(&room, Role::Owner);
        let (mut writer, half) = (client.try_clone().unwrap(), half.clone());
        // Of who is refused the rest may be read and thrown away, so that writing it says nothing.
        let _ = thread::spawn(move || writer.write_all(&half)).join().unwrap();
        client.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let _ = (&client).read_to_end(&mut told);
        clients.push(client);
    }
    assert!((4..MANY).contains(&clients.len()), "{} of {MANY}", clients.len());
    assert!(String::from_utf8_lossy(&told).contains("memory"));
}

#[test]
fn what_was_asked_keeps_no_memory() {
    let room = Room::new();
    let free = room.free();
    let (mut client, thread, _) = session(&room, Role::Owner);
    let long = "x".repeat(4 << 20);
    client.write_all(&request(&["echo", &long])).unwrap();
    let mut rest = Vec::new();
    let mut chunk = vec![0; 1 << 16];
    while !rest.ends_with(END) {
        let count = client.read(&mut chunk).unwrap();
        rest.extend_from_slice(&chunk[..count]);
    }
    // The reply's own lease is given back a moment after it was read; a further request comes behind that.
    client.write_all(&request(&["echo", "a"])).unwrap();
    assert_eq!(reply(&client), done(&["echo", "a"]));
    assert!(
        free - room.free() < 1 << 20,
        "{} bytes are still held",
        free - room.free()
    );
    drop(client);
    thread.join().unwrap();
    assert_eq!(room.free(), free);
}
