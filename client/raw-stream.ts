import { asTunnelError, TunnelError } from '../protocol/codec/errors.ts'
import type { Priority } from '../protocol/codec/heads.ts'
import { StreamDuplex } from '../protocol/node/duplex.ts'
import type { StreamOpener } from '../protocol/stream/opener.ts'
import { Deadline } from './deadline.ts'
import { inPlace, type NewStreamHead } from './opening.ts'
import type { RequestPath } from './request.ts'

/** What any byte stream may be asked with. */
export interface StreamOptions {
  /** @default 'normal' */
  priority?: Priority
  /** Ends the wait, and afterwards the stream. */
  signal?: AbortSignal
  /** Until the far side has accepted, in ms. @default settings.request.timeoutMs */
  timeoutMs?: number
}

/** A byte stream to a machine. */
export interface RawStream extends StreamOptions {
  machine: string
  /** `ssh`: sealed, to the machine's SSH server. `tcp`: inspected, to `target`. `sftp`: inspected, the sftp subsystem. */
  kind: 'ssh' | 'tcp' | 'sftp'
  /** `host:port` on the machine's side; needed for `tcp`. */
  target?: string
}

/** What streams of any kind are opened with. */
export interface DuplexPath {
  path: RequestPath
  opener: () => StreamOpener
  defaultTimeoutMs: number
}

/** Resolves when the far side has accepted. @throws {TunnelError} */
export function openRawStream(way: DuplexPath, request: RawStream): Promise<StreamDuplex> {
  const { machine, kind, target } = request
  if (kind === 'tcp' && target === undefined)
    return Promise.reject(
      new TunnelError('CONFIG_INVALID', 'target: a tcp stream needs one', { hop: 'client' }),
    )
  const head = target === undefined ? { kind, machine } : { kind, machine, target }
  return openDuplex(way, head, request)
}

/** @param aux whether its second channel is wanted. @throws {TunnelError} */
export async function openDuplex(
  { path, opener, defaultTimeoutMs }: DuplexPath,
  head: Omit<NewStreamHead, 'priority'>,
  { priority = 'normal', signal, timeoutMs = defaultTimeoutMs }: StreamOptions,
  aux = false,
): Promise<StreamDuplex> {
  const asked = head.target ?? 'the SSH server'
  const deadline = new Deadline(path.clock, signal, timeoutMs, `${asked} on ${head.machine} did not answer`)
  try {
    return await inPlace(path.queue, priority, deadline, async (release) => {
      const stream = opener().open({ ...head, priority })
      deadline.onGivenUp(() => stream.reset(deadline.reason as TunnelError))
      const duplex = await StreamDuplex.accepted(stream, { aux, accepted: () => deadline.stopTimer() })
      duplex.once('close', () => {
        release()
        deadline.end()
      })
      return duplex
    })
  } catch (error) {
    deadline.end()
    throw asTunnelError(error)
  }
}
