import type { AskedHead, Priority } from '../protocol/codec/heads.ts'
import type { StreamOpener } from '../protocol/stream/opener.ts'
import type { Deadline } from './deadline.ts'
import type { ExchangeStream } from './exchange.ts'
import type { Queued, RequestQueue } from './queue/request-queue.ts'
import type { RequestPath } from './request.ts'
import { type BodyLike, inMemory, Upload } from './upload.ts'

export type NewStreamHead = Omit<AskedHead, 'id' | 'window'>

/** Opens a stream; `first` with `ends` is the whole of our direction, and rides on OPEN. */
export type OpenStream = (head: NewStreamHead, first?: Uint8Array, ends?: boolean) => ExchangeStream

/** What streams of any kind are opened with. */
export interface DuplexPath {
  path: RequestPath
  opener: () => StreamOpener
  defaultTimeoutMs: number
}

/** A body up to this rides on OPEN, in bytes: one frame each way for a small request. */
export const MAX_RIDING_BYTES = 32_768

/** Our direction of a stream that has been opened. */
export interface Opened {
  stream: ExchangeStream
  upload: Upload
  /** The whole body went with OPEN: nothing is left to upload. */
  rides: boolean
  /** To be called when the stream has its handlers. */
  startUpload(): void
}

/** Opens a stream with the whole body, where that is small and in memory; else it is uploaded behind. */
export function openWithBody(
  open: OpenStream,
  head: NewStreamHead,
  body: BodyLike | undefined,
  onMoved?: () => void,
): Opened {
  const bytes = body === undefined ? undefined : inMemory(body)
  const rides = body === undefined || (bytes !== undefined && bytes.length <= MAX_RIDING_BYTES)
  const stream = rides ? open(head, bytes, true) : open(head)
  const upload = new Upload(stream, onMoved)
  return {
    stream,
    upload,
    rides,
    startUpload: () => {
      if (!rides) void upload.run(bytes ?? (body as BodyLike))
    },
  }
}

/**
 * Waits for a place on the link and runs `open` with what gives it back, to be called when the stream is over; it comes back
 * by itself when `open` fails. For what holds no memory while it waits and is accepted when it enters.
 */
export async function openInPlace<T>(
  queue: RequestQueue,
  priority: Priority,
  deadline: Deadline,
  open: (release: () => void) => T | Promise<T>,
): Promise<T> {
  const queued: Queued = { priority, bytes: 0, deadline }
  queue.enter(queued)
  const release = await queue.turn(queued)
  try {
    return await open(release)
  } catch (error) {
    release()
    throw error
  }
}
