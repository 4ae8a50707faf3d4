//! What plugins remember within one cycle, by type.

use std::any::Any;

/// A plugin's memory of a cycle. Preemption tries changes on a copy.
pub trait StateData: Any + Send + Sync {
    /// A copy.
    fn copy(&self) -> Box<dyn StateData>;
    /// For reading it back.
    fn as_any(&self) -> &dyn Any;
    /// For changing it.
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

impl<T: Any + Clone + Send + Sync> StateData for T {
    fn copy(&self) -> Box<dyn StateData> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// See the module. There are few entries: looking through them beats hashing.
#[derive(Default)]
pub struct CycleState(Vec<Box<dyn StateData>>);

impl CycleState {
    /// Remembers.
    pub fn put<T: StateData>(&mut self, value: T) {
        match self.get_mut::<T>() {
            Some(old) => *old = value,
            None => self.0.push(Box::new(value)),
        }
    }

    /// Reads back.
    pub fn get<T: StateData>(&self) -> Option<&T> {
        self.0.iter().find_map(|data| (**data).as_any().downcast_ref())
    }

    /// Changes.
    pub fn get_mut<T: StateData>(&mut self) -> Option<&mut T> {
        self.0.iter_mut().find_map(|data| (**data).as_any_mut().downcast_mut())
    }
}

impl Clone for CycleState {
    fn clone(&self) -> Self {
        Self(self.0.iter().map(|data| (**data).copy()).collect())
    }
}

impl std::fmt::Debug for CycleState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CycleState({} entries)", self.0.len())
    }
}
