#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "pool.h"

#if !defined(_WIN32)
#include <pthread.h>
#endif

namespace posesplat {
namespace {

struct Job {
  const std::function<void(int64_t, int)>& task;
  const int64_t count;
  const int helpers;  // workers that may join besides the caller
  std::atomic<int64_t> next{0};
  std::exception_ptr error;
  std::mutex error_mutex;

  void work(int worker) {
    for (int64_t i; (i = next.fetch_add(1)) < count;) {
      try {
        task(i, worker);
      } catch (...) {
        std::lock_guard lock(error_mutex);
        if (!error) error = std::current_exception();
        next = count;
      }
    }
  }
};

class Pool {
 public:
  void run(Job& job) {
    std::lock_guard one_job(run_mutex_);
    {
      std::lock_guard lock(mutex_);
      while (static_cast<int>(threads_.size()) < job.helpers) {
        const int worker = static_cast<int>(threads_.size()) + 1;
        threads_.emplace_back([this, worker] { loop(worker); });
        threads_.back().detach();  // they sleep until the process ends
      }
      job_ = &job;
      ++generation_;
    }
    wake_.notify_all();
    job.work(0);
    std::unique_lock lock(mutex_);
    job_ = nullptr;  // nobody joins any more
    done_.wait(lock, [this] { return active_ == 0; });
  }

 private:
  void loop(int worker) {
    uint64_t seen = 0;
    for (;;) {
      Job* job;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [&] { return generation_ != seen; });
        seen = generation_;
        job = job_;
        if (!job || worker > job->helpers) continue;
        ++active_;
      }
      job->work(worker);
      std::lock_guard lock(mutex_);
      if (--active_ == 0) done_.notify_all();
    }
  }

  std::mutex run_mutex_, mutex_;
  std::condition_variable wake_, done_;
  std::vector<std::thread> threads_;
  Job* job_ = nullptr;
  uint64_t generation_ = 0;
  int active_ = 0;
};

// Never destroyed: sleeping workers must not see it go. A forked child has none of its parent's threads and makes
// a pool of its own.
Pool* pool = nullptr;
std::mutex pool_mutex;

Pool& shared_pool() {
  std::lock_guard lock(pool_mutex);
  if (!pool) {
#if !defined(_WIN32)
    static const int registered = pthread_atfork([] { pool_mutex.lock(); }, [] { pool_mutex.unlock(); },
                                                 [] {
                                                   pool = nullptr;
                                                   pool_mutex.unlock();
                                                 });
    static_cast<void>(registered);
#endif
    pool = new Pool;
  }
  return *pool;
}

}  // namespace

void parallel_for(int64_t count, int threads, const std::function<void(int64_t, int)>& task) {
  const int helpers = static_cast<int>(threads - 1 < count - 1 ? threads - 1 : count - 1);
  Job job{task, count, helpers};
  if (helpers <= 0) {
    job.work(0);
  } else {
    shared_pool().run(job);
  }
  if (job.error) std::rethrow_exception(job.error);
}

}  // namespace posesplat
