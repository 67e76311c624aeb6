//! Plans: what a model would take and how fast it should run, before it is loaded.

use std::mem::{size_of, zeroed};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::io::AsRawFd;

use tessera_sys as sys;

use crate::error::{call, Result};
use crate::records::Plan;
use crate::runtime::Runtime;
use crate::settings::PlanOptions;
use crate::source::{reader_table, Source};

impl Plan {
    /// Plans an engine over a model: reads its header and none of its weights, and allocates nothing that stays.
    /// Memory is to the byte but for `host_object_bytes`; rates are estimates.
    pub fn new<'a>(runtime: &Runtime, source: impl Into<Source<'a>>, options: &PlanOptions) -> Result<Self> {
        let built = options.0.build()?;
        let (runtime, options) = (runtime.raw(), built.get());
        // SAFETY: all fields are integers and floats.
        let mut raw: sys::tsr_plan = unsafe { zeroed() };
        raw.struct_size = size_of::<sys::tsr_plan>();
        let plan = &mut raw;
        let result = match source.into() {
            Source::Path(path) => {
                let path = path.as_os_str().as_bytes();
                let (data, size) = (path.as_ptr().cast(), path.len());
                call(|error| unsafe { sys::tsr_plan_file(runtime, data, size, options, plan, error) })
            }
            Source::File { file, offset, size_bytes } => {
                let file = file.as_raw_fd();
                call(|error| unsafe {
                    sys::tsr_plan_descriptor(runtime, file, offset, size_bytes, options, plan, error)
                })
            }
            Source::Bytes(bytes) | Source::Static(bytes) => {
                let (data, size) = (bytes.as_ptr().cast(), bytes.len());
                call(|error| unsafe { sys::tsr_plan_memory(runtime, data, size, options, plan, error) })
            }
            Source::Reader(reader) => {
                let table = reader_table(reader, &built.caught)?;
                call(|error| unsafe { sys::tsr_plan_reader(runtime, &table, options, plan, error) })
            }
        };
        built.caught.explain(result)?;
        Ok(Self::from_raw(&raw))
    }
}
