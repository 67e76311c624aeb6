//! Where a model's bytes come from: a path, an open file, memory, or the program's own reader.

use std::fs::File;
use std::io;
use std::mem::size_of;
use std::os::raw::c_void;
use std::os::unix::fs::FileExt;
use std::os::unix::io::BorrowedFd;
use std::path::Path;
use std::slice;
use std::sync::Arc;

use tessera_sys as sys;

use crate::callback::{drop_hook, Caught, Hook};
use crate::error::{Error, Status};

/// The program's own way of reading a model's bytes.
pub trait ReadAt: Send + Sync {
    /// Bytes of the whole file.
    fn size(&self) -> io::Result<u64>;

    /// Reads into `buffer` from `offset` on and says how much; less than asked for is asked for again, and 0
    /// is the file's end. One call at a time, or, on any thread, as many at once as
    /// [`ModelOptions::read_threads`](crate::ModelOptions::read_threads) allows.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

impl ReadAt for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }
}

impl ReadAt for Vec<u8> {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        let size = buffer.len().min(self.len() - start);
        buffer[..size].copy_from_slice(&self[start..start + size]);
        Ok(size)
    }
}

/// Where a model's bytes come from.
#[non_exhaustive]
pub enum Source<'a> {
    /// A file by its path. It is read, not mapped, and may change or vanish afterwards.
    Path(&'a Path),
    /// An open regular file.
    File {
        /// The descriptor, which stays the caller's.
        file: BorrowedFd<'a>,
        /// Where the model begins in the file.
        offset: u64,
        /// How long it is; 0: to the file's end.
        size_bytes: u64,
    },
    /// Memory that is copied.
    Bytes(&'a [u8]),
    /// Memory that the model uses as it is, such as one of `include_bytes!`.
    Static(&'static [u8]),
    /// The program's own reader.
    Reader(Box<dyn ReadAt>),
}

impl<'a> From<&'a Path> for Source<'a> {
    fn from(path: &'a Path) -> Self {
        Self::Path(path)
    }
}

impl<'a> From<&'a [u8]> for Source<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a> From<Box<dyn ReadAt>> for Source<'a> {
    fn from(reader: Box<dyn ReadAt>) -> Self {
        Self::Reader(reader)
    }
}

/// A reader as the library takes it; the library owns `user` once it was called with it.
pub(crate) fn reader_table(reader: Box<dyn ReadAt>, caught: &Arc<Caught>) -> crate::Result<sys::tsr_reader> {
    let size_bytes = reader.size().map_err(io_error)?;
    Ok(sys::tsr_reader {
        struct_size: size_of::<sys::tsr_reader>(),
        user: Hook::into_user(Arc::new(reader), caught),
        drop: Some(drop_hook::<Box<dyn ReadAt>>),
        size_bytes,
        read_at: Some(read_at),
    })
}

fn io_error(error: io::Error) -> Error {
    Error::new(Status::IoError, format!("the reader: {}", error)).with_source(error)
}

unsafe extern "C" fn read_at(user: *mut c_void, offset: u64, buffer: *mut c_void, size: usize) -> i64 {
    let hook = &*user.cast::<Hook<Box<dyn ReadAt>>>();
    hook.caught.run("the reader", -1, || {
        if size == 0 {
            return 0;
        }
        // What is handed out as a slice must have been written.
        std::ptr::write_bytes(buffer.cast::<u8>(), 0, size);
        let buffer = slice::from_raw_parts_mut(buffer.cast::<u8>(), size);
        let mut done = 0;
        while done < size {
            match hook.callee.read_at(offset + done as u64, &mut buffer[done..]) {
                Ok(0) => break,
                Ok(count) => done += count.min(size - done),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let number = error.raw_os_error().unwrap_or(1);
                    hook.caught.put(io_error(error));
                    return -i64::from(number.max(1));
                }
            }
        }
        done as i64
    })
}
