//! Containers made ahead. Owns who may have which: only a workspace of exactly the same shape.

use super::container::Container;
use super::runnable::Runnable;
use crate::contract::OpenSpec;
use domain::suite::Network;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All that a container cannot change once it is made.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    pub(super) image: Runnable,
    pub(super) full_network: bool,
    pub(super) memory_mib: u64,
    pub(super) disk_mib: u64,
    pub(super) pids: u32,
    pub(super) cpu_millis: u64,
}

impl Shape {
    pub(super) fn new(image: Runnable, spec: &OpenSpec) -> Self {
        let limits = spec.limits;
        Self {
            image,
            full_network: spec.network == Network::Full,
            memory_mib: limits.memory_mib,
            disk_mib: limits.disk_mib,
            pids: limits.pids,
            cpu_millis: cpu_millis(limits.cpus),
        }
    }
}

/// Thousandths of a processor; what is no number, or none at all, is a tenth of one.
fn cpu_millis(cpus: f64) -> u64 {
    let millis = (cpus * 1000.0).clamp(100.0, 1_000_000.0);
    if millis.is_nan() { 100 } else { millis as u64 }
}

/// Warm containers of one worker.
#[derive(Debug)]
pub(super) struct Pool<C = Container> {
    each: usize,
    total: usize,
    state: Arc<Mutex<State<C>>>,
}

#[derive(Debug)]
struct State<C> {
    closed: bool,
    ready: HashMap<Shape, VecDeque<C>>,
    making: HashMap<Shape, usize>,
    /// Shapes by their last use, the oldest first.
    used: Vec<Shape>,
}

/// Room for one container that is being made; given back when dropped.
#[derive(Debug)]
pub(super) struct Place<C> {
    shape: Shape,
    state: Arc<Mutex<State<C>>>,
}

impl<C> Drop for Place<C> {
    fn drop(&mut self) {
        if let Some(making) = lock(&self.state).making.get_mut(&self.shape) {
            *making = making.saturating_sub(1);
        }
    }
}

impl<C> Pool<C> {
    pub(super) fn new(each: usize, total: usize) -> Self {
        let state = State { closed: false, ready: HashMap::new(), making: HashMap::new(), used: Vec::new() };
        Self { each, total, state: Arc::new(Mutex::new(state)) }
    }

    /// A container of this shape that was made ahead.
    pub(super) fn take(&self, shape: &Shape) -> Option<C> {
        let mut state = lock(&self.state);
        state.used.retain(|other| other != shape);
        state.used.push(shape.clone());
        state.ready.get_mut(shape)?.pop_front()
    }

    /// Room for one more of this shape; for it another one, of the shape longest unused, may have to go.
    pub(super) fn room(&self, shape: &Shape) -> Option<(Place<C>, Option<C>)> {
        let mut state = lock(&self.state);
        let making = state.making.get(shape).copied().unwrap_or(0);
        let ready = state.ready.get(shape).map_or(0, VecDeque::len);
        if state.closed || making + ready >= self.each.min(self.total) {
            return None;
        }
        let all =
            state.making.values().sum::<usize>() + state.ready.values().map(VecDeque::len).sum::<usize>();
        let evicted = if all >= self.total { Some(state.evict(shape)?) } else { None };
        *state.making.entry(shape.clone()).or_default() += 1;
        Some((Place { shape: shape.clone(), state: Arc::clone(&self.state) }, evicted))
    }

    /// Puts a container into its place; gives it back when the pool is closed.
    pub(super) fn put(&self, place: Place<C>, container: C) -> Option<C> {
        let mut state = lock(&self.state);
        if state.closed {
            return Some(container);
        }
        state.ready.entry(place.shape.clone()).or_default().push_back(container);
        drop(state);
        drop(place);
        None
    }

    /// Takes everything out and nothing in any more.
    pub(super) fn close(&self) -> Vec<C> {
        let mut state = lock(&self.state);
        state.closed = true;
        std::mem::take(&mut state.ready).into_values().flatten().collect()
    }
}

impl<C> State<C> {
    fn evict(&mut self, keep: &Shape) -> Option<C> {
        let order: Vec<_> = self.used.iter().filter(|shape| *shape != keep).cloned().collect();
        order.iter().find_map(|shape| self.ready.get_mut(shape)?.pop_front())
    }
}

fn lock<C>(state: &Mutex<State<C>>) -> MutexGuard<'_, State<C>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(memory_mib: u64) -> Shape {
        let image = Runnable { id: "image".to_owned(), volumes: Vec::new() };
        Shape { image, full_network: false, memory_mib, disk_mib: 1, pids: 1, cpu_millis: 1 }
    }

    fn fill(pool: &Pool<u32>, memory: u64, first: u32) -> Vec<u32> {
        let mut evicted = Vec::new();
        for number in first.. {
            let Some((place, out)) = pool.room(&shape(memory)) else { break };
            evicted.extend(out);
            assert_eq!(pool.put(place, number), None);
        }
        evicted
    }

    #[test]
    fn gives_only_what_has_the_shape_asked_for() {
        let pool = Pool::new(2, 8);
        assert_eq!(pool.take(&shape(1)), None);
        assert_eq!(fill(&pool, 1, 10), Vec::<u32>::new());
        assert_eq!(pool.take(&shape(2)), None);
        assert_eq!(
            (pool.take(&shape(1)), pool.take(&shape(1)), pool.take(&shape(1))),
            (Some(10), Some(11), None)
        );
    }

    #[test]
    fn the_shape_longest_unused_makes_room() {
        let pool = Pool::new(2, 4);
        for (memory, first) in [(1, 10), (2, 20)] {
            pool.take(&shape(memory));
            fill(&pool, memory, first);
        }
        assert_eq!(pool.take(&shape(1)), Some(10));
        pool.take(&shape(3));
        assert_eq!(fill(&pool, 3, 30), [20]);
        assert_eq!(pool.take(&shape(1)), Some(11));
    }

    #[test]
    fn a_place_that_is_never_filled_is_free_again() {
        let pool: Pool<u32> = Pool::new(1, 1);
        let (place, _) = pool.room(&shape(1)).unwrap();
        assert!(pool.room(&shape(1)).is_none());
        drop(place);
        assert!(pool.room(&shape(1)).is_some());
    }

    #[test]
    fn a_closed_pool_keeps_nothing() {
        let pool = Pool::new(2, 2);
        let (late, _) = pool.room(&shape(1)).unwrap();
        let (place, _) = pool.room(&shape(1)).unwrap();
        pool.put(place, 1);
        assert_eq!(pool.close(), [1]);
        assert_eq!(pool.put(late, 2), Some(2));
        assert!(pool.room(&shape(1)).is_none());
    }

    #[test]
    fn processors_are_never_none() {
        for (cpus, want) in [(2.0, 2000), (0.0, 100), (-1.0, 100), (f64::NAN, 100)] {
            assert_eq!(cpu_millis(cpus), want);
        }
    }
}
