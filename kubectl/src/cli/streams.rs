//! Where a command reads and writes: the process's standard streams, or buffers of whoever runs it.

use std::{
    io::{self, BufRead, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Standard input, output and error of one command line. Cheap to clone.
#[derive(Clone)]
pub struct Streams {
    input: Arc<Mutex<dyn BufRead + Send>>,
    out: Arc<Mutex<dyn Write + Send>>,
    error: Arc<Mutex<dyn Write + Send>>,
}

impl Streams {
    /// The process's own.
    pub fn process() -> Self {
        Self::new(io::BufReader::new(io::stdin()), io::stdout(), io::stderr())
    }

    /// Of these three.
    pub fn new(
        input: impl BufRead + Send + 'static,
        out: impl Write + Send + 'static,
        error: impl Write + Send + 'static,
    ) -> Self {
        Self { input: Arc::new(Mutex::new(input)), out: Arc::new(Mutex::new(out)), error: Arc::new(Mutex::new(error)) }
    }

    /// All of standard input.
    ///
    /// # Errors
    /// It can't be read, or is no UTF-8.
    pub fn read_to_string(&self) -> io::Result<String> {
        let mut text = String::new();
        lock(&self.input).read_to_string(&mut text)?;
        Ok(text)
    }

    /// The next line of standard input with its end; empty when there is none.
    ///
    /// # Errors
    /// As for [`Self::read_to_string`].
    pub fn read_line(&self) -> io::Result<String> {
        let mut line = String::new();
        lock(&self.input).read_line(&mut line)?;
        Ok(line)
    }

    /// Writes to standard output, at once.
    ///
    /// # Errors
    /// The reader went away, or the disk behind it is full.
    pub fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut out = lock(&self.out);
        out.write_all(bytes)?;
        out.flush()
    }

    /// Writes a line to standard error. Where that can't be written, there is nobody to tell.
    pub fn note(&self, line: &str) {
        let _ = writeln!(lock(&self.error), "{line}");
    }
}

/// A writer that panicked has left nothing half done that matters here.
fn lock<T: ?Sized>(stream: &Mutex<T>) -> MutexGuard<'_, T> {
    stream.lock().unwrap_or_else(PoisonError::into_inner)
}
