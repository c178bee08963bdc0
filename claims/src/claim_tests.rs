use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

fn taken(claims: &mut Claims, dir: &Path) -> Option<Claim> {
    match claims.take(dir).unwrap() {
        Attempt::Taken(claim) => Some(claim),
        Attempt::Held(_) => None,
    }
}

#[test]
fn a_claim_is_one_process_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("row/.tmp-claim");
    let mut claims = Claims::default();
    let claim = taken(&mut claims, &dir).unwrap();
    claim.verify().unwrap();
    let Attempt::Held(holder) = claims.take(&dir).unwrap() else { panic!("taken twice") };
    assert!(holder.contains(&format!("process {}", std::process::id())), "{holder}");
    drop(claim);
    assert!(!dir.exists());
    assert!(taken(&mut claims, &dir).is_some());
}

/// Numbers that are spelled otherwise, and the last one that there could be.
#[test]
fn other_files_in_the_folder_are_no_claims() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("claim");
    fs::create_dir(&dir).unwrap();
    for name in ["7.toml", "4294967295.toml", "notes.toml"] {
        fs::write(dir.join(name), "").unwrap();
    }
    let claim = taken(&mut Claims::default(), &dir).unwrap();
    assert_eq!(claim.number, 1);
    claim.verify().unwrap();
}

/// What a killed process leaves: whole, or cut off while it was being written.
#[test]
fn a_dead_owners_claim_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("claim");
    fs::create_dir(&dir).unwrap();
    let mut child = std::process::Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let mut dead = toml::Table::try_from(Owner::this()).unwrap();
    dead.insert("pid".to_owned(), i64::from(child.id()).into());
    fs::write(path(&dir, 1), toml::to_string(&dead).unwrap()).unwrap();
    assert!(!holder(&dir).unwrap().unwrap().is_alive());
    let claim = taken(&mut Claims::default(), &dir).unwrap();
    assert_eq!(claim.number, 2);
    // What the dead one would find, were it alive, in the file that it knows.
    assert_eq!(fs::read_to_string(path(&dir, 1)).unwrap(), claim.text);
    assert_eq!(holder(&dir).unwrap().unwrap().owner.unwrap().pid, std::process::id());
    drop(claim);
    assert!(!dir.exists());
}

/// A claim of another machine counts until it has not been touched for the time that makes it stale.
#[test]
fn a_claim_from_elsewhere_is_judged_by_its_heartbeat() {
    let folder = tempfile::tempdir().unwrap();
    let mut elsewhere = toml::Table::try_from(Owner::this()).unwrap();
    elsewhere.insert("system".to_owned(), "elsewhere".into());
    for text in [toml::to_string(&elsewhere).unwrap(), String::new()] {
        let dir = folder.path().join("claim");
        fs::create_dir(&dir).unwrap();
        let file = path(&dir, 1);
        fs::write(&file, text).unwrap();
        let mut claims = Claims { stale: Duration::from_millis(200), ..Claims::default() };
        for second in 0..4 {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
            File::options().append(true).open(&file).unwrap().set_modified(time).unwrap();
            assert!(taken(&mut claims, &dir).is_none(), "touched a moment ago");
            std::thread::sleep(Duration::from_millis(80));
        }
        std::thread::sleep(Duration::from_millis(300));
        drop(taken(&mut claims, &dir).unwrap());
        assert!(!dir.exists());
    }
}

/// One look at the claim of another machine takes no longer than it must: a holder that was heard of a moment ago has it, one
/// whose file is old is waited for, and has it still where it is heard of meanwhile, however wrong its clock is.
#[test]
fn one_look_from_elsewhere_is_enough() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("claim");
    let mut elsewhere = toml::Table::try_from(Owner::this()).unwrap();
    elsewhere.insert("system".to_owned(), "elsewhere".into());
    fs::create_dir(&dir).unwrap();
    let file = path(&dir, 1);
    fs::write(&file, toml::to_string(&elsewhere).unwrap()).unwrap();
    let touch = |time| File::options().append(true).open(&file).unwrap().set_modified(time).unwrap();
    let look = |stale| {
        let mut claims = Claims { stale, ..Claims::default() };
        let attempt = claims.take_from_the_silent(&dir).unwrap();
        matches!(attempt, Attempt::Taken(_))
    };
    // Waiting would take two minutes.
    assert!(!look(Duration::from_secs(60)), "touched a moment ago");

    let stale = Duration::from_secs(1);
    let (stop, stopped) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        touch(SystemTime::UNIX_EPOCH);
        let touch = &touch;
        scope.spawn(move || {
            let mut second = 0;
            while stopped.recv_timeout(Duration::from_millis(20)) == Err(RecvTimeoutError::Timeout) {
                second += 1;
                touch(SystemTime::UNIX_EPOCH + Duration::from_secs(second));
            }
        });
        assert!(!look(stale), "touched all the time");
        drop(stop);
    });
    assert!(look(stale));
    assert!(!dir.exists());
}

#[test]
fn a_holder_that_was_taken_for_dead_stops_and_removes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("claim");
    let claim = taken(&mut Claims::default(), &dir).unwrap();
    fs::write(path(&dir, 2), "another").unwrap();
    let message = claim.verify().unwrap_err().to_string();
    assert!(message.contains("took over"), "{message}");
    drop(claim);
    assert_eq!(numbers(&dir).unwrap(), [2]);
}

/// A machine that still remembers the folder as it was: only the holder's own file shows that it was taken over.
#[test]
fn a_holder_that_sees_no_newer_claim_finds_its_own_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("claim");
    let claim = taken(&mut Claims::default(), &dir).unwrap();
    replace(&path(&dir, 1), "another's").unwrap();
    assert!(matches!(claim.verify(), Err(Error::TakenOver { .. })));
    drop(claim);
    assert_eq!(numbers(&dir).unwrap(), [1]);
}

/// Threads stand for processes: a live process's claims are all alike to it.
#[test]
fn many_at_once_never_share() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("claim");
    let (inside, turns) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut claims = Claims::default();
                while turns.load(Ordering::SeqCst) < 200 {
                    if let Some(claim) = taken(&mut claims, &dir) {
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two hold the claim");
                        turns.fetch_add(1, Ordering::SeqCst);
                        claim.verify().unwrap();
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    assert!(!dir.exists());
}

#[cfg(unix)]
#[test]
fn a_link_that_leads_nowhere_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("runs");
    std::os::unix::fs::symlink(folder.path().join("gone"), &link).unwrap();
    for dir in [link.clone(), link.join("below")] {
        let error = Claims::default().take(&dir).err().expect("no folder is there");
        assert!(error.to_string().contains(&dir.display().to_string()), "{error}");
        let cause = std::error::Error::source(&error).expect("what is wrong with it").to_string();
        assert!(cause.contains("a link that leads nowhere"), "{cause}");
    }
}
