import { randomBytes } from 'node:crypto'
import { asTunnelError, type TunnelError } from '../../protocol/codec/errors.ts'
import type { AskedHead, RoutedHead } from '../../protocol/codec/heads.ts'
import type { ByteStream } from '../../protocol/stream/byte-stream.ts'
import type { User } from '../auth/index.ts'
import type { Carriage } from './carriage.ts'
import { goneElsewhere, tooManyRefusals } from './errors.ts'
import type { OpenContext } from './hooks.ts'
import type { Passage } from './passage.ts'
import type { Session } from './sessions.ts'

/** A stream that came by no link, such as a request that a gateway has received. */
export interface Guest {
  readonly from: Pick<OpenContext, 'user' | 'connectionId' | 'correlationId' | 'log'>
  /** What is asked for, in the user's own name. */
  readonly asked: Omit<AskedHead, 'id' | 'window'>
  /** What it may hold of this process's memory while it is here, in bytes. */
  readonly costBytes: number
  /** Its stream has to end by `error`: its token was revoked, or the proxy closes. It may not have been admitted yet. */
  stop(error: TunnelError): void
}

/** A guest that was admitted. */
export interface AdmittedGuest {
  readonly head: RoutedHead
  /** Carries the stream to its end; `over` is still owed. */
  carry(stream: ByteStream): void
  /** Once: the stream is over. */
  over(error?: TunnelError): void
}

interface GuestsContext {
  readonly carriage: Carriage
  visit(user: User): Session
  /** @throws {TunnelError} TOO_MANY_STREAMS */
  passageOf(
    from: Guest['from'],
    session: Session,
    head: RoutedHead,
    stop: (error: TunnelError) => void,
  ): Passage
}

/** Nothing is granted to a stream that has no frames: whoever made it holds its far side back itself. */
const NO_WINDOW = 0

/**
 * Asks as a stream from a link asks: hooks, token, bucket, machine, policy.
 * @throws {TunnelError} what refuses it
 */
export async function admitGuest(
  { from, asked, costBytes, stop }: Guest,
  { carriage, visit, passageOf }: GuestsContext,
): Promise<AdmittedGuest> {
  const session = visit(from.user)
  if (session.refusals.isEmpty) throw tooManyRefusals()
  const head: RoutedHead = { ...asked, id: randomBytes(16).toString('hex'), window: NO_WINDOW }
  const passage = passageOf(from, session, head, stop)
  let held = 0
  const over = (error?: TunnelError): void => {
    session.memory.give(held)
    held = 0
    passage.over(error)
  }
  try {
    session.memory.take(costBytes)
    held = costBytes
    // As an OPEN of a user who has had more than the pace allows.
    await session.pace?.clear()
    const route = await passage.admit()
    if (passage.isOver) throw goneElsewhere()
    return { head, over, carry: (stream) => void carriage.carry(stream, passage, route) }
  } catch (thrown) {
    const error = asTunnelError(thrown, 'proxy')
    session.refusals.take()
    over(error)
    throw error
  }
}
