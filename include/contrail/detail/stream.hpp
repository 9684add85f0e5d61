// SPDX-License-Identifier: MIT
// Every byte of a stream that image.hpp does not have. What a session writes: a superblock, then blocks, each a
// stream_block and its content. A reader takes them in order up to the last whole one, which may be anywhere: the
// process may have been killed. A header of its own, since what only records need not compile it.
#ifndef CONTRAIL_DETAIL_STREAM_HPP
#define CONTRAIL_DETAIL_STREAM_HPP

#include "contrail/detail/image.hpp"

CONTRAIL_DETAIL_NAMESPACE_BEGIN
namespace detail CONTRAIL_DETAIL_HIDDEN {

enum class block_type : uint32_t {
  binding = 1,  ///< one entry; before the first block with its id
  slot = 2,     ///< a thread_slot without its frames, then each open region's index as a word and its frame
  chunk = 3,    ///< a chunk's header with its extent so far, then the words from `begin` to there
  state = 4,    ///< a stream_state of that moment
  end = 5,      ///< a stream_state: nothing follows
  span = 6      ///< an open span's span_entry; without content: what that entry held has ended
};

struct stream_block {
  block_type type;
  uint32_t begin;  ///< of a chunk: bytes from its start to the first word that is here; of a span: its index; else 0
  uint64_t bytes;  ///< of the content, a multiple of 8
};
static_assert(sizeof(stream_block) == 16);

/// Why a stream has an end.
enum class stream_cause : uint32_t {
  none = 0,      ///< it has none yet
  stopped = 1,   ///< session::stop, or the end of the session's scope
  failed = 2,    ///< a write failed, with the errno value beside it
  recorder = 3   ///< the flight recorder was stopped
};

struct stream_state {
  clock_anchor anchor;
  uint64_t next_ticket;
  uint64_t attached;
  uint64_t attached_slots;
  uint64_t dropped[8];      ///< as in the superblock: since the recorder's start
  uint64_t lost_records;    ///< recycled before the session had copied them, or not written
  uint64_t lost_chunks;     ///< those that lost any
  uint64_t chunks;          ///< of which a part is in the stream
  stream_cause cause;
  int32_t error_number;
};
static_assert(sizeof(stream_state) == 152);

}  // namespace detail
CONTRAIL_DETAIL_NAMESPACE_END

#endif
