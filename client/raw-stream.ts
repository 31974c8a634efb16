import { asTunnelError, TunnelError } from '../protocol/codec/errors.ts'
import type { Priority } from '../protocol/codec/heads.ts'
import { StreamDuplex } from '../protocol/node/duplex.ts'
import type { StreamOpener } from '../protocol/stream/opener.ts'
import { Deadline } from './deadline.ts'
import { inPlace } from './opening.ts'
import type { RequestPath } from './request.ts'

/** A byte stream to a machine. */
export interface RawStream {
  machine: string
  /** `ssh`: sealed, to the machine's SSH server. `tcp`: inspected, to `target`. */
  kind: 'ssh' | 'tcp'
  /** `host:port` on the machine's side; needed for `tcp`. */
  target?: string
  /** @default 'normal' */
  priority?: Priority
  /** Ends the wait, and afterwards the stream. */
  signal?: AbortSignal
  /** Until the far side has accepted, in ms. @default settings.request.timeoutMs */
  timeoutMs?: number
}

/** Resolves when the far side has accepted. @throws {TunnelError} */
export async function openRawStream(
  path: RequestPath,
  opener: () => StreamOpener,
  defaultTimeoutMs: number,
  request: RawStream,
): Promise<StreamDuplex> {
  const { machine, kind, target, priority = 'normal', signal } = request
  if (kind === 'tcp' && target === undefined) {
    throw new TunnelError('CONFIG_INVALID', 'target: a tcp stream needs one', { hop: 'client' })
  }
  const timeoutMs = request.timeoutMs ?? defaultTimeoutMs
  const deadline = new Deadline(
    path.clock,
    signal,
    timeoutMs,
    `${target ?? 'the SSH server'} on ${machine} did not answer`,
  )
  try {
    return await inPlace(path.queue, priority, deadline, async (release) => {
      const head = target === undefined ? { kind, machine, priority } : { kind, machine, priority, target }
      const stream = opener().open(head)
      deadline.onGivenUp(() => stream.reset(deadline.reason as TunnelError))
      const duplex = await StreamDuplex.accepted(stream, () => deadline.stopTimer())
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
