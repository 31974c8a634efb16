import { isIP } from 'node:net'
import type { Clock } from '../../protocol/clock.ts'
import { asTunnelError, type TunnelError } from '../../protocol/codec/errors.ts'
import { type AskedHead, LOOKUP, type Vouched } from '../../protocol/codec/heads.ts'
import { answerInvalid, decodeAddresses, MAX_ANSWER_BYTES } from '../../protocol/codec/lookup.ts'
import { canonicalHost } from '../../protocol/node/addresses.ts'
import { StreamDuplex } from '../../protocol/node/duplex.ts'
import type { StreamOpener } from '../../protocol/stream/opener.ts'
import { agentOutdated, lookupAborted } from './errors.ts'

/** For how long an agent that knows no lookups is not asked again, in ms: a replica on the way may be the one that does not. */
const OUTDATED_MS = 60_000

/** Asks one agent what names stand for on its machine. */
export class AgentNames {
  readonly #opener: StreamOpener
  readonly #clock: Clock
  /** The program that did not know what it was asked. */
  #outdated: { instance: string; untilMs: number } | undefined

  constructor(opener: StreamOpener, clock: Clock) {
    this.#opener = opener
    this.#clock = clock
  }

  /**
   * The addresses of `name` that may be dialled, in the order of preference.
   * @param instance of the agent's program
   * @throws {TunnelError} VERSION_UNSUPPORTED for an agent that cannot say, DNS_FAILED, POLICY_DENIED, TIMEOUT, ABORTED
   */
  async ask(
    name: string,
    instance: string,
    head: Pick<AskedHead, 'machine'> & Vouched,
    signal: AbortSignal,
  ): Promise<string[]> {
    const { instance: outdated, untilMs = 0 } = this.#outdated ?? {}
    if (outdated === instance && this.#clock.now() < untilMs) throw agentOutdated(head.machine, name)
    try {
      return (await this.#read({ ...head, target: name }, signal)).map(canonicalHost)
    } catch (thrown) {
      const error = asTunnelError(thrown, 'agent')
      if (!isUnknownKind(error)) throw error
      this.#outdated = { instance, untilMs: this.#clock.now() + OUTDATED_MS }
      throw agentOutdated(head.machine, name)
    }
  }

  async #read(head: Pick<AskedHead, 'machine' | 'target'> & Vouched, signal: AbortSignal): Promise<string[]> {
    if (signal.aborted) throw lookupAborted()
    const stream = this.#opener.open({ kind: LOOKUP, ...head }, undefined, true)
    const onAbort = (): void => stream.reset(lookupAborted())
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      const answer = await StreamDuplex.accepted(stream)
      const chunks: Buffer[] = []
      let bytes = 0
      for await (const chunk of answer) {
        chunks.push(chunk as Buffer)
        bytes += (chunk as Buffer).length
        if (bytes > MAX_ANSWER_BYTES) throw answerInvalid()
      }
      const addresses = decodeAddresses(Buffer.concat(chunks))
      if (!addresses.every((address) => isIP(address) !== 0)) throw answerInvalid()
      return addresses
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }
}

/** What a party says that does not know this kind: the agent, or a replica of an earlier version between it and us. */
function isUnknownKind({ code, fromPeer }: TunnelError): boolean {
  return code === 'FRAME_INVALID' && fromPeer
}
