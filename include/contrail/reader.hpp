// SPDX-License-Identifier: MIT
// Opt-in: reads what contrail recorded, a dump, a stream, or the image file of a process that runs or was killed, in
// C++. It needs no recorder, and g++ or clang for a 64-bit machine, whichever recorded. The input may be damaged or
// hostile: what can be read is, warnings() says what could not, and memory is bounded by the input's size. No function
// throws but for want of memory.
//
//   #include <contrail/reader.hpp>
//
//   contrail::reader reader(bytes.data(), bytes.size());  // which must outlive it
//   if (!reader) return fail(reader.reason());
//   for (const contrail::event& e : reader) {
//     std::cout << e.thread().name << ": " << e.name() << " took " << e.duration_ns() << " ns\n";
//     for (const contrail::event_field& f : e.fields()) std::cout << "  " << f.name << '\n';
//   }
#ifndef CONTRAIL_READER_HPP
#define CONTRAIL_READER_HPP

#include "contrail/detail/reader_threads.hpp"

#include <iterator>
#include <set>

CONTRAIL_DETAIL_NAMESPACE_BEGIN

enum class event_form : uint8_t {
  region,       ///< began and ended on its thread
  open_region,  ///< had not ended when the dump was made
  point,        ///< a moment: an instant, counter, log line or object
  async_region, ///< began on another thread than the one that ended it
  span,         ///< a task or an asynchronous span, on the thread that ended it
  open_span     ///< one that had not ended
};

/// What a task or an asynchronous span is to others.
struct event_span {
  uint64_t id, parent;  ///< in the process; parent 0: none
  uint32_t begin_tid;   ///< of the thread that began it
  uint64_t trace_high, trace_low, own, from;  ///< of a task: W3C trace id, its id there, and its parent's or 0
};

/// What ended the process. The thread may be one that never recorded.
struct recording_crash {
  uint32_t cause;           ///< 0 nothing, 1 a signal, 2 std::terminate
  uint32_t signal;
  int32_t code;             ///< si_code: above 0 the kernel found a fault, else a process sent the signal
  uint32_t tid;
  uint64_t address;         ///< of a fault
  uint32_t sender;          ///< process that sent the signal
  std::string_view thread;  ///< name
};

/// What is known of the recording as a whole. Times with "unix" are of the wall clock.
struct CONTRAIL_DETAIL_HIDDEN recording_info {
  unsigned version_major, version_minor;  ///< of the format
  bool is_dump;                           ///< else the image of a process that runs or was killed
  uint64_t bytes;                         ///< of the input
  uint32_t pid;
  std::string_view executable, host;
  uint32_t clock_source;         ///< 1 tsc, 2 cntvct, 3 the kernel's monotonic clock
  uint64_t nominal_hz;           ///< ticks per second, as the recorder measured them at its start
  uint64_t measured_hz;          ///< as all clock readings together give them
  detail::clock_anchor started;  ///< on four clocks
  detail::clock_anchor dumped;   ///< zero in a live image
  detail::clock_anchor stopped;  ///< of a live image: when it ended, if `ended` is not 0
  uint32_t storage;              ///< of a live image: 0 memory, 1 a file
  uint32_t ended;                ///< of a live image: 0 not, or not in order; 1 by stop; 2 by exit
  recording_crash crash;
  uint64_t window_ns;            ///< asked for; 0: all
  uint64_t cutoff_ticks;         ///< what ended before is outside the window
  uint32_t dump_sequence, dump_signal, dump_tid;
  uint64_t trigger_ticks;    ///< when a trigger fired that made this dump; 0: none did
  std::string_view trigger;  ///< what it found
  uint64_t attached;         ///< threads that ever recorded
  uint64_t chunks;           ///< in the input
  int64_t zero_unix_ns;      ///< when the first event began, from which all times of events count
  int64_t covered_ns;        ///< to the end of the last record
  int64_t now_ns;            ///< the dump; in a live image the last record; in a stream its end
  bool is_stream;            ///< a session's; then is_dump is set too
};

/// Records that are not in the dump.
struct recording_loss {
  std::string_view why;
  uint64_t count;
};

class reader;

/// One thing that was recorded. Cheap to copy; valid while its reader is.
class CONTRAIL_DETAIL_HIDDEN event {
 public:
  event_form form() const { return form_; }
  event_kind kind() const { return binding_->kind; }
  std::string_view name() const { return binding_->name; }
  std::string_view category() const { return binding_->category; }
  const event_binding& binding() const { return *binding_; }
  const event_thread& thread() const { return *thread_; }

  inline int64_t start_ns() const;     ///< since the first event
  inline int64_t end_ns() const;       ///< of an open region the dump, or the newest record if that is later
  int64_t duration_ns() const { return end_ns() - start_ns(); }
  uint64_t start_ticks() const { return record_->start; }
  uint64_t end_ticks() const { return record_->end; }
  uint32_t begin_tid() const {
    return is_span() ? span().begin_tid : form_ == event_form::async_region ? record_->tid : thread_->tid;
  }
  bool is_span() const { return form_ == event_form::span || form_ == event_form::open_span; }
  /// Meant if is_span().
  inline event_span span() const;

  event_fields fields() const {
    event_fields found;
    read_fields(found);
    return found;
  }
  /// The same into an object that keeps its memory.
  inline void read_fields(event_fields& into) const;

 private:
  friend class reader;
  const reader* reader_ = nullptr;
  const event_thread* thread_ = nullptr;
  const event_binding* binding_ = nullptr;
  const detail::reading::reader_record* record_ = nullptr;
  event_form form_ = event_form::point;
};

/// The events of a dump, thread by thread: first a thread's regions in the order in which they began, an outer one
/// before its inner ones, then its points, its async regions and its spans, each in the order in which they ended. At
/// last come the spans that had not ended, on the first thread with the id that began them, or a nameless one. The
/// bytes must outlive it. Memory: some 6 times theirs in the constructor, and 4 times afterwards.
class CONTRAIL_DETAIL_HIDDEN reader {
 public:
  reader(const void* bytes, size_t size) : image_(detail::reading::untrusted_bytes(bytes, size)) {
    if (!*this) return;
    detail::reading::reader_trace trace(image_);
    first_ = trace.first();
    newest_ = trace.newest();
    now_ = trace.now();
    threads_ = std::move(trace.threads());
    open_spans_ = std::move(trace.open_spans());
    zero_ = image_.clock().ns(first_);
    name_unknown_ids();
  }
  explicit reader(std::span<const std::byte> bytes) : reader(bytes.data(), bytes.size()) {}
  reader(const reader&) = delete;
  reader& operator=(const reader&) = delete;

  /// Whether there is anything to read; if not, reason() says why and all else is empty.
  explicit operator bool() const { return image_.reason().empty(); }
  const std::string& reason() const { return image_.reason(); }
  /// What could not be read, each a sentence.
  const std::vector<std::string>& warnings() const { return image_.warnings(); }
  /// What is worth knowing although all was read.
  const std::vector<std::string>& notes() const { return image_.notes(); }

  const std::vector<event_thread>& threads() const { return threads_; }
  /// Of several bindings of one id the first, in the order of the ids.
  std::vector<const event_binding*> bindings() const {
    std::vector<const event_binding*> all;
    for (const event_binding& b : image_.bindings()) all.push_back(&b);
    std::sort(all.begin(), all.end(), [](const auto* a, const auto* b) { return a->id < b->id; });
    return all;
  }
  inline recording_info info() const;
  /// Only those that are not zero. Counts are exact, and stop at 2^64 - 1.
  inline std::vector<recording_loss> losses() const;

  /// A moment in nanoseconds since the first event.
  int64_t ns(uint64_t ticks) const { return image_.clock().ns(ticks) - zero_; }

  class iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = event;
    using difference_type = ptrdiff_t;
    using pointer = const event*;
    using reference = const event&;

    iterator() = default;
    const event& operator*() const { return event_; }
    const event* operator->() const { return &event_; }
    iterator& operator++() {
      ++index_;
      settle();
      return *this;
    }
    iterator operator++(int) {
      iterator before = *this;
      ++*this;
      return before;
    }
    bool operator==(const iterator& other) const { return thread_ == other.thread_ && index_ == other.index_; }

   private:
    friend class reader;
    iterator(const reader* of, size_t thread) : reader_(of), thread_(thread) { settle(); }
    inline void settle();
    inline void settle_behind_threads();

    const reader* reader_ = nullptr;
    size_t thread_ = 0, index_ = 0;  ///< an event of all of the thread's; behind the threads, an open span
    event event_;
  };
  iterator begin() const { return iterator(this, 0); }
  iterator end() const { return iterator(this, threads_.size() + 1); }

 private:
  friend class event;

  const event_binding& binding_of(uint16_t id) const {
    const event_binding* found = image_.binding_of(id);
    if (found != nullptr) return *found;
    const auto unknown = std::lower_bound(unknown_.begin(), unknown_.end(), id,
                                          [](const event_binding& b, uint16_t wanted) { return b.id < wanted; });
    return *unknown;
  }
  inline void name_unknown_ids();
  inline recording_crash crash_note() const;

  detail::reading::reader_image image_;
  std::vector<event_thread> threads_;
  std::vector<detail::reading::reader_record> open_spans_;
  event_thread no_thread_;
  std::vector<event_binding> unknown_;  ///< of ids without a binding, by id
  std::deque<std::string> unknown_names_;
  uint64_t first_ = 0, newest_ = 0, now_ = 0;
  int64_t zero_ = 0;
};

inline int64_t event::start_ns() const { return reader_->ns(record_->start); }
inline int64_t event::end_ns() const { return reader_->ns(record_->end); }

inline event_span event::span() const {
  const detail::reading::untrusted_bytes& data = reader_->image_.data();
  const uint64_t at = record_->payload_at - detail::reading::reader_record::span_words_before;
  const auto word = [&](detail::span_word which) { return data.u64(at + 8 * (which - detail::span_id)); };
  return {word(detail::span_id),
          word(detail::span_parent),
          static_cast<uint32_t>(word(detail::span_tid)),
          word(detail::span_trace_high),
          word(detail::span_trace_low),
          word(detail::span_own),
          word(detail::span_from)};
}

inline void event::read_fields(event_fields& into) const {
  into.read(*binding_, reader_->image_.data().part(record_->payload_at, record_->payload_bytes()));
}

inline void reader::iterator::settle() {
  const std::vector<event_thread>& threads = reader_->threads_;
  while (thread_ < threads.size() && index_ == threads[thread_].found.count()) {
    ++thread_;
    index_ = 0;
  }
  event_.reader_ = reader_;
  if (thread_ >= threads.size()) return settle_behind_threads();
  const detail::reading::reader_records& found = threads[thread_].found;
  const size_t regions = found.regions.size(), points = found.points.size();
  if (index_ < regions) {
    event_.record_ = &found.regions[index_];
    event_.form_ = event_.record_->is_open() ? event_form::open_region : event_form::region;
  } else if (index_ - regions < points) {
    event_.record_ = &found.points[index_ - regions];
    event_.form_ = event_form::point;
  } else if (index_ - regions - points < found.asyncs.size()) {
    event_.record_ = &found.asyncs[index_ - regions - points];
    event_.form_ = event_form::async_region;
  } else {
    event_.record_ = &found.spans[index_ - regions - points - found.asyncs.size()];
    event_.form_ = event_form::span;
  }
  event_.thread_ = &threads[thread_];
  event_.binding_ = &reader_->binding_of(event_.record_->id);
}

inline void reader::iterator::settle_behind_threads() {
  if (thread_ == reader_->threads_.size() && index_ == reader_->open_spans_.size()) {
    ++thread_;
    index_ = 0;
  }
  if (thread_ != reader_->threads_.size()) return;
  event_.record_ = &reader_->open_spans_[index_];
  event_.form_ = event_form::open_span;
  event_.binding_ = &reader_->binding_of(event_.record_->id);
  event_.thread_ = &reader_->no_thread_;
  const uint32_t tid = event_.span().begin_tid;
  for (const event_thread& thread : reader_->threads_) {
    if (thread.tid != tid) continue;
    event_.thread_ = &thread;
    break;
  }
}

/// An id that the dump does not explain is part of a name of its own.
inline void reader::name_unknown_ids() {
  std::set<uint16_t> ids;
  for (const detail::reading::reader_record& r : open_spans_) {
    if (image_.binding_of(r.id) == nullptr) ids.insert(r.id);
  }
  for (const event_thread& thread : threads_) {
    for (const auto* records : {&thread.found.regions, &thread.found.points, &thread.found.asyncs, &thread.found.spans}) {
      for (const detail::reading::reader_record& r : *records) {
        if (image_.binding_of(r.id) == nullptr) ids.insert(r.id);
      }
    }
  }
  for (const uint16_t id : ids) {
    unknown_names_.push_back("unknown #" + std::to_string(id));
    unknown_.emplace_back();
    unknown_.back().id = id;
    unknown_.back().name = unknown_names_.back();
  }
  if (!ids.empty()) {
    image_.warnings().push_back(std::to_string(ids.size()) +
                                " ids have no binding: their events are named 'unknown #id'");
  }
}

inline recording_crash reader::crash_note() const {
  using note = detail::crash_note;
  const detail::reading::untrusted_bytes& data = image_.data();
  constexpr size_t at = offsetof(detail::superblock, crash);
  return {data.u32(at + offsetof(note, cause)),
          data.u32(at + offsetof(note, signal)),
          static_cast<int32_t>(data.u32(at + offsetof(note, code))),
          data.u32(at + offsetof(note, tid)),
          data.u64(at + offsetof(note, address)),
          data.u32(at + offsetof(note, sender)),
          data.c_string(at + offsetof(note, thread), sizeof(note::thread))};
}

inline recording_info reader::info() const {
  using detail::superblock;
  if (!*this) return {};
  const detail::reading::untrusted_bytes& data = image_.data();
  return {data.u16(offsetof(superblock, version_major)),
          data.u16(offsetof(superblock, version_minor)),
          image_.is_dump(),
          image_.input_bytes(),
          data.u32(offsetof(superblock, pid)),
          data.c_string(offsetof(superblock, executable), sizeof(superblock::executable)),
          data.c_string(offsetof(superblock, host), sizeof(superblock::host)),
          data.u32(offsetof(superblock, source)),
          image_.tick_hz(),
          image_.clock().hz(),
          image_.start(),
          image_.dump(),
          image_.is_dump() ? detail::clock_anchor{} : data.anchor(offsetof(superblock, end)),
          image_.is_dump() ? 0 : data.u32(offsetof(superblock, storage)),
          image_.is_dump() ? 0 : data.u32(offsetof(superblock, ended)),
          crash_note(),
          data.u64(offsetof(superblock, window_ns)),
          data.u64(offsetof(superblock, cutoff_ticks)),
          data.u32(offsetof(superblock, dump_sequence)),
          data.u32(offsetof(superblock, dump_signal)),
          data.u32(offsetof(superblock, dump_tid)),
          image_.is_dump() ? data.u64(offsetof(superblock, trigger_ticks)) : 0,
          data.c_string(offsetof(superblock, trigger), sizeof(superblock::trigger)),
          data.u64(offsetof(superblock, attached)),
          image_.chunks().size(),
          image_.clock().realtime(zero_),
          std::max<int64_t>(0, ns(newest_)),
          ns(now_),
          image_.is_stream()};
}

inline std::vector<recording_loss> reader::losses() const {
  using detail::superblock;
  if (!*this) return {};
  uint64_t overwritten = 0, missing = 0;
  for (const event_thread& t : threads_) {
    overwritten = detail::reading::saturating_add(overwritten, t.overwritten);
    missing = detail::reading::saturating_add(missing, t.missing);
  }
  const auto dropped = [&](detail::drop_reason why) {
    return image_.data().u64(offsetof(superblock, dropped) + 8 * static_cast<uint64_t>(why));
  };
  std::vector<recording_loss> all{
      {"overwritten by newer records", overwritten},
      {"missing between others", missing},
      {"chunks recycled while they were copied", image_.torn()},
      // The session counted all; gaps show those between others.
      {"missing at the ends of threads", image_.lost() > missing ? image_.lost() - missing : 0},
      {"dropped: no chunk free", dropped(detail::drop_reason::no_chunk)},
      {"dropped: more threads than slots", dropped(detail::drop_reason::no_slot)},
      {"dropped: no lane free in a signal handler", dropped(detail::drop_reason::no_lane)},
      {"dropped: regions open too deep", dropped(detail::drop_reason::too_deep)},
      {"dropped: regions not nested", dropped(detail::drop_reason::misnested)},
      {"dropped: more tasks open than entries", dropped(detail::drop_reason::no_span)}};
  all.erase(std::remove_if(all.begin(), all.end(), [](const auto& loss) { return loss.count == 0; }), all.end());
  return all;
}

CONTRAIL_DETAIL_NAMESPACE_END

#endif
