#![allow(missing_docs)]
use candle_core::{Device, Tensor};
use nn::*;
use std::time::Instant;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let (name, b, m, img) = (
        &a[1],
        a[2].parse::<usize>().unwrap(),
        a[3].parse::<usize>().unwrap(),
        a[4].parse::<usize>().unwrap(),
    );
    let mut spec = NetworkSpec::named(name, img, 10).unwrap();
    if m > 1 {
        spec = spec.batch_ensemble(m)
    }
    let net = Network::new(&spec, 0, &Device::Cpu).unwrap();
    let d = random::Stream::new(1, "x");
    let mut dr = d.draws(0, 0);
    let x: Vec<f32> = (0..b * 3 * img * img).map(|_| dr.uniform()).collect();
    let x = Tensor::from_vec(x, (b, 3, img, img), &Device::Cpu).unwrap();
    let gf = spec.multiply_adds().unwrap() as f64 * 2e-9 * (b * m) as f64;
    for i in 0..7 {
        profile::enable(i == 6);
        let t = Instant::now();
        let l = net.logits(&x, Mode::Train { groups: 1 }).unwrap();
        let t1 = t.elapsed().as_secs_f64();
        let loss = l.sqr().unwrap().mean_all().unwrap();
        let g = loss.backward().unwrap();
        let t2 = t.elapsed().as_secs_f64();
        std::hint::black_box(&g);
        if i == 6 {
            for (k, d) in profile::times() {
                println!("{:28} {:.1} ms", k.name(), d.as_secs_f64() * 1e3);
            }
        }
        let t = Instant::now();
        let _ = net.frozen_logits(&x, Mode::Eval).unwrap();
        let t3 = t.elapsed().as_secs_f64();
        println!(
            "fwd {:.1} ms {:.0} GF/s  bwd {:.1} ms {:.0} GF/s  eval {:.1} ms {:.0} GF/s img/s {:.0}",
            t1 * 1e3,
            gf / t1,
            (t2 - t1) * 1e3,
            2.0 * gf / (t2 - t1),
            t3 * 1e3,
            gf / t3,
            b as f64 / t2
        );
    }
}
