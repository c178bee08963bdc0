//! Descriptors of cuDNN's graph API: made, set an attribute at a time, finished, read.

use candle_core::cuda::cudarc::cudnn::result::CudnnError;
use candle_core::cuda::cudarc::cudnn::sys::{
    self, cudnnBackendAttributeName_t as Name, cudnnBackendAttributeType_t as Type, cudnnBackendDescriptor_t,
    cudnnBackendDescriptorType_t as Descriptor, cudnnStatus_t,
};

use super::plan::Answer;

/// A descriptor that is being set.
pub(super) struct Builder(cudnnBackendDescriptor_t);

impl Builder {
    pub(super) unsafe fn new(kind: Descriptor) -> Answer<Self> {
        // SAFETY: the caller's.
        unsafe { made(kind) }.map(Self)
    }

    /// # Safety
    /// `T` must be what cuDNN takes as a `kind`.
    pub(super) unsafe fn set<T>(self, name: Name, kind: Type, values: &[T]) -> Answer<Self> {
        // SAFETY: the caller's; cuDNN copies the values.
        unsafe {
            sys::cudnnBackendSetAttribute(self.0, name, kind, values.len() as i64, values.as_ptr().cast())
                .result()?;
        }
        Ok(self)
    }

    pub(super) unsafe fn part(self, name: Name, part: cudnnBackendDescriptor_t) -> Answer<Self> {
        // SAFETY: it is a descriptor.
        unsafe { self.set(name, Type::CUDNN_TYPE_BACKEND_DESCRIPTOR, &[part]) }
    }

    pub(super) unsafe fn finish(self) -> Answer<cudnnBackendDescriptor_t> {
        // SAFETY: it was made by `new`.
        unsafe { sys::cudnnBackendFinalize(self.0) }.result().map(|()| self.0)
    }
}

pub(super) unsafe fn made(kind: Descriptor) -> Answer<cudnnBackendDescriptor_t> {
    let mut descriptor = std::ptr::null_mut();
    // SAFETY: it is written before it is read.
    unsafe { sys::cudnnBackendCreateDescriptor(kind, &mut descriptor) }.result().map(|()| descriptor)
}

/// Up to as many values of an attribute as `room` has, which says what cuDNN finds where it looks first.
///
/// # Safety
/// `T` must be what cuDNN writes as a `kind`.
pub(super) unsafe fn get<T: Copy, const N: usize>(
    descriptor: cudnnBackendDescriptor_t,
    name: Name,
    kind: Type,
    mut room: [T; N],
) -> Answer<Vec<T>> {
    let mut found = 0_i64;
    // SAFETY: the caller's; there is room for as many as are asked for.
    unsafe {
        let to = room.as_mut_ptr().cast();
        sys::cudnnBackendGetAttribute(descriptor, name, kind, N as i64, &mut found, to).result()?;
    }
    Ok(room.into_iter().take(usize::try_from(found).unwrap_or(0)).collect())
}

/// The value of an attribute that has one; `room` is written over.
///
/// # Safety
/// As [`get`].
pub(super) unsafe fn one<T: Copy>(
    descriptor: cudnnBackendDescriptor_t,
    name: Name,
    kind: Type,
    room: T,
) -> Answer<T> {
    // SAFETY: the caller's.
    let values = unsafe { get(descriptor, name, kind, [room])? };
    values.first().copied().ok_or(CudnnError(cudnnStatus_t::CUDNN_STATUS_BAD_PARAM))
}
