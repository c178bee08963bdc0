//! Which runs may share a device: so many of any row at a time, or so many teachers where there are no others.

/// The most runs at a time on each device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Most {
    /// Of any row.
    pub runs: usize,
    /// Of teachers alone, where this is more.
    pub teachers: usize,
}

impl Most {
    /// The most that a device ever has at a time.
    pub fn at_a_time(self) -> usize {
        self.runs.max(self.teachers).max(1)
    }
}

/// The devices and what they have in training.
#[derive(Debug)]
pub(super) struct Room {
    most: Most,
    devices: Vec<Shared>,
}

/// One device.
#[derive(Clone, Debug, Default)]
struct Shared {
    training: Vec<Training>,
    /// Its memory was not enough for several runs.
    is_short: bool,
}

#[derive(Clone, Debug)]
struct Training {
    run: usize,
    is_teacher: bool,
    /// Whether there was ever another one on the device.
    was_beside: bool,
}

impl Room {
    /// So many devices without a run.
    pub(super) fn new(devices: usize, most: Most) -> Self {
        Self { most, devices: vec![Shared::default(); devices] }
    }

    /// Whether the device may begin a run: it has room, and no device with less to do has.
    pub(super) fn has(&self, device: usize, is_teacher: bool) -> bool {
        let busy = self.devices[device].training.len();
        let fits = |shared: &Shared| shared.fits(self.most, is_teacher);
        fits(&self.devices[device])
            && !self.devices.iter().any(|other| other.training.len() < busy && fits(other))
    }

    /// The device begins `run`.
    pub(super) fn begin(&mut self, device: usize, run: usize, is_teacher: bool) {
        let training = &mut self.devices[device].training;
        training.push(Training { run, is_teacher, was_beside: false });
        if training.len() > 1 {
            training.iter_mut().for_each(|one| one.was_beside = true);
        }
    }

    /// `run` is over; whether it ever shared the device.
    pub(super) fn end(&mut self, device: usize, run: usize) -> bool {
        let training = &mut self.devices[device].training;
        let at = training.iter().position(|one| one.run == run);
        at.is_some_and(|at| training.remove(at).was_beside)
    }

    /// From now on the device begins a run only where it has no other.
    pub(super) fn one_at_a_time(&mut self, device: usize) {
        self.devices[device].is_short = true;
    }

    /// Whether there may ever be two runs on a device.
    pub(super) fn is_shared(&self) -> bool {
        self.most.at_a_time() > 1
    }
}

impl Shared {
    fn fits(&self, most: Most, is_teacher: bool) -> bool {
        let most = match is_teacher && self.training.iter().all(|one| one.is_teacher) {
            _ if self.is_short => 1,
            true => most.at_a_time(),
            false => most.runs,
        };
        self.training.is_empty() || self.training.len() < most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEACHER: bool = true;
    const STUDENT: bool = false;

    fn room(devices: usize, runs: usize, teachers: usize) -> Room {
        Room::new(devices, Most { runs, teachers })
    }

    #[test]
    fn teachers_share_a_device_among_themselves() {
        let mut room = room(1, 1, 3);
        room.begin(0, 0, TEACHER);
        assert!(room.has(0, TEACHER) && !room.has(0, STUDENT));
        room.begin(0, 1, TEACHER);
        room.begin(0, 2, TEACHER);
        assert!(!room.has(0, TEACHER));
        assert!((0..3).all(|run| room.end(0, run)));
        room.begin(0, 3, STUDENT);
        assert!(!room.has(0, TEACHER) && !room.has(0, STUDENT));
        assert!(!room.end(0, 3), "it was alone");
    }

    #[test]
    fn runs_of_any_row_share_a_device() {
        // The larger number holds for teachers, too.
        let mut room = room(1, 2, 1);
        room.begin(0, 0, STUDENT);
        assert!(room.has(0, TEACHER) && room.has(0, STUDENT));
        room.begin(0, 1, TEACHER);
        assert!(!room.has(0, TEACHER) && !room.has(0, STUDENT));
        assert!(room.end(0, 0));
        assert!(room.has(0, TEACHER));
    }

    #[test]
    fn devices_fill_evenly() {
        let mut room = room(2, 1, 4);
        room.begin(0, 0, TEACHER);
        assert!(!room.has(0, TEACHER) && room.has(1, TEACHER));
        room.begin(1, 1, TEACHER);
        assert!(room.has(0, TEACHER) && room.has(1, TEACHER));
        room.begin(1, 2, TEACHER);
        assert!(room.has(0, TEACHER) && !room.has(1, TEACHER));
        room.end(0, 0);
        // A device that has less to do but no room keeps nobody waiting.
        room.begin(0, 3, STUDENT);
        assert!(!room.has(0, TEACHER) && room.has(1, TEACHER));
    }

    #[test]
    fn a_device_that_is_short_of_memory_takes_one_at_a_time() {
        let mut room = room(1, 3, 3);
        room.begin(0, 0, TEACHER);
        room.begin(0, 1, TEACHER);
        room.one_at_a_time(0);
        assert!(room.end(0, 1));
        assert!(!room.has(0, TEACHER));
        assert!(room.end(0, 0), "it began beside another");
        assert!(room.has(0, TEACHER));
        room.begin(0, 1, TEACHER);
        assert!(!room.has(0, TEACHER));
        assert!(!room.end(0, 1), "alone now: its next lack of memory is its own");
    }
}
