//! The one door to threads.
//!
//! Work runs on the OpenMP team that torch itself uses: a second pool would compete with torch's workers,
//! which spin for milliseconds after each of torch's own parallel regions. Where that team cannot be found
//! (plain `cargo test`, or a torch built without OpenMP), rayon's global pool takes its place.
//!
//! A task writes only what is its own, so results never depend on the number of threads.

use crate::library::Library;
use std::ffi::{c_uint, c_void};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

static TEAM_OWNER: AtomicU32 = AtomicU32::new(0);

type Region = unsafe extern "C" fn(*mut c_void);
type GompParallel = unsafe extern "C" fn(Region, *mut c_void, c_uint, c_uint);

/// Runs `body(0), …, body(tasks - 1)`, each once, on at most `threads` threads, in any order.
///
/// In a process forked after [`note_process`] it runs serially: neither pool survives a fork.
pub fn for_each(threads: usize, tasks: usize, body: impl Fn(usize) + Sync) {
    if threads <= 1 || tasks <= 1 || is_forked_child() {
        (0..tasks).for_each(body);
        return;
    }
    let next = AtomicUsize::new(0);
    let worker = || {
        loop {
            let task = next.fetch_add(1, Ordering::Relaxed);
            if task >= tasks {
                return;
            }
            body(task);
        }
    };
    let threads = threads.min(tasks);
    match openmp() {
        Some(parallel) => run_on_openmp(parallel, threads, &worker),
        None => rayon::in_place_scope(|scope| {
            for _ in 1..threads {
                scope.spawn(|_| worker());
            }
            worker();
        }),
    }
}

/// Runs `body(sequence, range)` over ranges of about `span` items that never cross sequences, where each of
/// `sequences` has `items`.
pub fn for_each_span(
    threads: usize,
    sequences: usize,
    items: usize,
    span: usize,
    body: impl Fn(usize, Range<usize>) + Sync,
) {
    let spans = items.div_ceil(span.max(1));
    for_each(threads, sequences * spans, |task| {
        let (sequence, index) = (task / spans, task % spans);
        body(sequence, index * items / spans..(index + 1) * items / spans);
    });
}

/// A mutable slice whose disjoint parts are written by different tasks.
pub struct Disjoint<'a, T> {
    start: *mut T,
    len: usize,
    _borrow: std::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: `part` hands out ranges that the caller promises are disjoint, so no element is shared.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    /// Takes the slice for the time of a parallel region.
    pub fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), _borrow: std::marker::PhantomData }
    }

    /// The elements of `range`.
    ///
    /// # Panics
    /// If `range` reaches past the slice.
    ///
    /// # Safety
    /// No two parts alive at the same time may overlap.
    #[allow(clippy::mut_from_ref)]
    #[must_use]
    pub unsafe fn part(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "part {range:?} of {}", self.len);
        // SAFETY: in bounds by the assertion, unaliased by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

fn run_on_openmp<F: Fn() + Sync>(parallel: GompParallel, threads: usize, worker: &F) {
    struct Shared<'a, F> {
        worker: &'a F,
        panic: Mutex<Option<Box<dyn std::any::Any + Send>>>,
    }
    unsafe extern "C" fn region<F: Fn() + Sync>(data: *mut c_void) {
        // SAFETY: `data` is the `Shared` below, alive until every thread has left the region.
        let shared = unsafe { &*data.cast::<Shared<'_, F>>() };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(shared.worker))
            && let Ok(mut first) = shared.panic.lock()
        {
            *first = Some(panic);
        }
    }
    let shared = Shared { worker, panic: Mutex::new(None) };
    let data = (&raw const shared).cast_mut().cast::<c_void>();
    // SAFETY: `region` has the signature GOMP_parallel calls, never unwinds, and `data` outlives the call.
    unsafe { parallel(region::<F>, data, threads as c_uint, 0) };
    if let Ok(Some(panic)) = shared.panic.into_inner() {
        resume_unwind(panic);
    }
}

/// `GOMP_parallel` of the OpenMP library that libtorch is linked to.
fn openmp() -> Option<GompParallel> {
    static ENTRY: OnceLock<Option<GompParallel>> = OnceLock::new();
    *ENTRY.get_or_init(|| {
        let torch = Library::loaded(c"libtorch_cpu.so")?;
        // SAFETY: GOMP_parallel has had this signature since GCC 4.9 and is part of libgomp's stable ABI.
        unsafe { torch.function::<GompParallel>("GOMP_parallel") }
    })
}

/// Notes the process that torch's team belongs to, if none is noted: as the library is loaded, for torch may
/// start the team before any kernel runs.
pub fn note_process() {
    let this = std::process::id();
    let _first = TEAM_OWNER.compare_exchange(0, this, Ordering::Relaxed, Ordering::Relaxed);
}

fn is_forked_child() -> bool {
    note_process();
    TEAM_OWNER.load(Ordering::Relaxed) != std::process::id()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once() {
        for threads in [1, 2, 7] {
            for tasks in [0, 1, 5, 1000] {
                let mut counts = vec![0_u8; tasks];
                let shared = Disjoint::new(&mut counts);
                // SAFETY: each task takes the element of its own index.
                for_each(threads, tasks, |task| unsafe { shared.part(task..task + 1)[0] += 1 });
                assert!(counts.iter().all(|&count| count == 1));
            }
        }
    }

    #[test]
    fn spans_cover_every_sequence_once() {
        let mut seen = vec![0_u8; 3 * 103];
        let shared = Disjoint::new(&mut seen);
        for_each_span(3, 3, 103, 10, |sequence, range| {
            // SAFETY: the spans of one call are disjoint.
            let part = unsafe { shared.part(sequence * 103 + range.start..sequence * 103 + range.end) };
            for item in part {
                *item += 1;
            }
        });
        assert!(seen.iter().all(|&count| count == 1));
    }

    #[test]
    #[should_panic(expected = "task failed")]
    fn a_panic_reaches_the_caller() {
        for_each(2, 8, |task| assert!(task != 3, "task failed"));
    }
}
