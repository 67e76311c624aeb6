//! Owned references to the library's objects. It must not know what they are for.

use std::slice;

/// Declares an owner of one reference, which any thread may release.
macro_rules! handle {
    ($name:ident, $raw:ident, $release:ident) => {
        pub(crate) struct $name(std::ptr::NonNull<tessera_sys::$raw>);

        // SAFETY: no handle belongs to a thread (tessera.h). Functions that allow one caller at a time are called
        // by methods that take `&mut self` of the object that owns this.
        unsafe impl Send for $name {}
        unsafe impl Sync for $name {}

        impl $name {
            /// Takes over the reference that `create` made.
            pub(crate) fn create(
                create: impl FnOnce(
                    *mut *mut tessera_sys::$raw,
                    *mut *mut tessera_sys::tsr_error,
                ) -> tessera_sys::tsr_status,
            ) -> crate::Result<Self> {
                let mut raw = std::ptr::null_mut();
                crate::error::call(|error| create(&mut raw, error))?;
                std::ptr::NonNull::new(raw).map(Self).ok_or_else(|| {
                    crate::Error::new(crate::Status::Internal, concat!(stringify!($raw), " is NULL"))
                })
            }

            pub(crate) fn get(&self) -> *mut tessera_sys::$raw {
                self.0.as_ptr()
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: the reference is this object's own.
                unsafe { tessera_sys::$release(self.get()) }
            }
        }
    };
}

handle!(RuntimeHandle, tsr_runtime, tsr_runtime_release);
handle!(ModelHandle, tsr_model, tsr_model_release);
handle!(EngineHandle, tsr_engine, tsr_engine_release);
handle!(SessionHandle, tsr_session, tsr_session_release);
handle!(QueueHandle, tsr_queue, tsr_queue_release);
handle!(OptionsHandle, tsr_options, tsr_options_release);

/// Bytes that the library owns; NULL gives none.
///
/// # Safety
/// `data` is NULL or has `size` bytes that stay for `'a`.
pub(crate) unsafe fn bytes<'a>(data: *const u8, size: usize) -> &'a [u8] {
    if data.is_null() {
        return &[];
    }
    slice::from_raw_parts(data, size)
}
