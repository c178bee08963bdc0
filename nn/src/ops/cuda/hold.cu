// Keeps a stream busy for so many cycles of its multiprocessor, while the host gives it what is to be timed.
extern "C" __global__ void __launch_bounds__(THREADS)
    hold(unsigned long long cycles) {
    FOLLOW;
    long long start = clock64();
    while ((unsigned long long)(clock64() - start) < cycles) {}
}
