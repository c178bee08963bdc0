//! Engines for a device that is not there: NVIDIA's cuDNN names and builds them from a description. What is left to a device is
//! to run them.

use std::ffi::c_char;

use candle_core::cuda::cudarc::cudnn::sys::{
    cudnnBackendAttributeName_t as Name, cudnnBackendAttributeType_t as Type, cudnnBackendDescriptor_t,
    cudnnBackendDescriptorType_t as Descriptor,
};

use super::super::super::Element;
use super::super::super::emulated::available;
use super::super::super::kernels::Kernels;
use super::super::descriptor::Builder;
use super::super::{Key, Kind};
use super::{CONFIGURATIONS, Engine, Target, WORKSPACE};
use crate::ops::cpu::geometry::ConvShape;

/// Name, compute capability in hundredths, multiprocessors, and bytes of shared memory that a block may ask for.
const DEVICES: [(&str, u32, u32, u32); 2] =
    [("NVIDIA A100-SXM4-80GB", 800, 108, 166_912), ("NVIDIA H100 80GB HBM3", 900, 132, 232_448)];

/// A device in the form and with the keys that cuDNN 9.28 asks for; what is the same for all of [`DEVICES`], or does not matter to
/// what is tested, is an H100's.
fn json((name, capability, multiprocessors, shared): (&str, u32, u32, u32)) -> String {
    format!(
        r#"{{"version": 1, "maxGridSize": [2147483647, 65535, 65535], "maxBlockSize": [1024, 1024, 64],
"regsPerBlock": 65536, "multiProcessorCount": {multiprocessors}, "warpSize": 32, "maxSharedMemoryPerBlock": 49152,
"maxSharedMemoryPerBlockOptin": {shared}, "reservedSharedMemoryPerBlock": 1024, "maxRegistersPerSM": 65536, "maxCtasPerSM": 32,
"maxThreadsPerBlock": 1024, "maxThreadsPerSM": 2048, "pciDeviceId": 0, "isTccDriver": 0, "supportCoopLaunch": 1,
"totalGlobalMem": 85000000000, "smClockRateKHz": 1980000, "memClockRateKHz": 2619000, "memoryBusWidth": 5120,
"l2CacheSize": 52428800, "cudaDeviceId": 0, "deviceVer": {capability}, "driverVer": 13000, "deviceName": "{name}"}}"#
    )
}

/// The description, finished. A stand-in of cuDNN makes none, and an older one may not.
fn described(json: &str) -> Result<cudnnBackendDescriptor_t, String> {
    let text: Vec<c_char> = json.bytes().chain([0]).map(|byte| byte as c_char).collect();
    let name = Name::CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION;
    // SAFETY: the attribute is of characters.
    let made = unsafe {
        Builder::new(Descriptor::CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR)
            .and_then(|builder| builder.set(name, Type::CUDNN_TYPE_CHAR, &text))
            .and_then(|builder| builder.finish())
    };
    made.map_err(|error| format!("no description of a device: {error:?}"))
}

/// Convolutions of ResNet-32 and WRN-28-10: batch, channels in and out, kernel, stride, extent of the input.
const SHAPES: [[usize; 6]; 12] = [
    [128, 3, 16, 3, 1, 32],
    [128, 16, 16, 3, 1, 32],
    [128, 16, 32, 3, 2, 32],
    [128, 32, 32, 3, 1, 16],
    [64, 32, 64, 3, 2, 16],
    [64, 64, 64, 3, 1, 8],
    [128, 16, 160, 1, 1, 32],
    [128, 160, 160, 3, 1, 32],
    [64, 160, 320, 3, 2, 32],
    [64, 320, 320, 3, 1, 16],
    [64, 320, 640, 1, 2, 16],
    [64, 640, 640, 3, 1, 8],
];

#[test]
fn an_a100_and_an_h100_would_have_engines() {
    for device in DEVICES {
        let found = described(&json(device));
        let Some(device) = available("cudnn", found.as_ref()) else { return };
        engines(*device);
    }
}

/// Those of one device.
fn engines(device: cudnnBackendDescriptor_t) {
    for [batch, channels_in, channels_out, kernel, stride, extent] in SHAPES {
        let shape = ConvShape { channels_in, channels_out, kernel, stride, height: extent, width: extent };
        for (kind, adds) in [
            (Kind::Forward, false),
            (Kind::Folded, false),
            (Kind::Folded, true),
            (Kind::Data, false),
            (Kind::Data, true),
            (Kind::Filter, false),
        ] {
            for (element, tf32) in [(Element::Bf16, false), (Element::F32, true), (Element::F32, false)] {
                let kernels = Kernels::Fastest;
                let key = Key { kernels, kind, adds, shape, element, tf32, members: 1, batch };
                // SAFETY: the description is finished.
                let engines = unsafe { Engine::all(Target::Described(device), key, |_| true) };
                let engines = engines.unwrap_or_else(|error| panic!("{key}: {error:?}"));
                assert!((1..=CONFIGURATIONS).contains(&engines.len()), "{key}: {} engines", engines.len());
                assert!(engines.iter().all(|engine| engine.workspace <= WORKSPACE), "{key}");
                let is_folded = kind == Kind::Folded;
                assert!(engines.iter().all(|engine| engine.is_fused() == is_folded), "{key}: epilogues");
                let mut names: Vec<String> = engines.iter().map(|engine| engine.name().to_string()).collect();
                let again = names[0].clone();
                names.sort();
                names.dedup();
                assert_eq!(names.len(), engines.len(), "{key}: names");
                // By its name there is the same one, and no other.
                // SAFETY: as above.
                let named =
                    unsafe { Engine::all(Target::Described(device), key, |name| name.to_string() == again) };
                assert_eq!(named.map(|named| named.len()), Ok(1), "{key}: {again}");
            }
        }
    }
}
