// A small thread pool: parallel_for over task numbers, the calling thread works too. Safe across fork.
#pragma once

#include <functional>

namespace posesplat {

// Runs task(index, worker) for every index in [0, count); worker < threads. The first exception is rethrown.
void parallel_for(int64_t count, int threads, const std::function<void(int64_t, int)>& task);

}  // namespace posesplat
