//! Which threads compute what.

/// The variable that candle reads once, for the size of the pool that its elementwise operators share.
const CANDLE_THREADS: &str = "CANDLE_NUM_THREADS";

/// The variable that CUDA reads once, for the queues that the streams of a device share: with its 8, streams that have nothing to do
/// with each other wait for each other. 32 are the most.
#[cfg(feature = "cuda")]
const CUDA_QUEUES: &str = "CUDA_DEVICE_MAX_CONNECTIONS";

/// Keeps candle's elementwise operators on the threads that call them, unless `CANDLE_NUM_THREADS` says otherwise, and on CUDA
/// streams in queues of their own, unless `CUDA_DEVICE_MAX_CONNECTIONS` does.
///
/// Around a step candle adds and scales a few tensors of some hundred thousand values. Waking the workers of its own pool
/// for them takes longer than the work, the workers go on spinning on cores that this crate's kernels want, and several
/// runs in one process wait for each other at the pool. Values do not change: no operator of it sums.
///
/// To be called at the start of a program: where other threads run already, or the system does not tell, it does nothing.
pub fn keep_apart() {
    if num_threads::is_single_threaded() != Some(true) {
        return;
    }
    let set = |name: &str, value: &str| {
        if std::env::var_os(name).is_none() {
            // SAFETY: no other thread may read the environment meanwhile, and there is none.
            unsafe { std::env::set_var(name, value) };
        }
    };
    set(CANDLE_THREADS, "1");
    #[cfg(feature = "cuda")]
    set(CUDA_QUEUES, "32");
}

/// Runs a whole pass on the threads that share its work. From another thread each of its parallel loops, one a norm and some
/// for the weights, would wake them and be woken again.
pub(crate) fn on_workers<T: Send>(pass: impl FnOnce() -> T + Send) -> T {
    rayon::scope(|_| pass())
}
