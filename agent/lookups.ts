import { asTunnelError, TunnelError } from '../protocol/codec/errors.ts'
import { encodeAddresses } from '../protocol/codec/lookup.ts'
import { parseTarget } from '../protocol/codec/target.ts'
import { type Lookup, Names } from '../protocol/node/names.ts'
import type { TunnelStream } from '../protocol/stream/stream.ts'

/** Says what a name stands for on this machine, for its proxy to have the SSH server connect there by address. */
export class Lookups {
  readonly #names: Names

  /** As of `Names`. */
  constructor(lookup?: Lookup, maxAtOnce?: number) {
    this.#names = new Names('agent', lookup, maxAtOnce)
  }

  /** @throws {TunnelError} what the stream is to be reset with */
  async answer(stream: TunnelStream, whose: string): Promise<void> {
    const gone = new AbortController()
    stream.handle({ data: (bytes) => stream.consumed(bytes.length), closed: () => gone.abort() })
    const name = parseTarget(`${stream.head.target}:1`)?.host
    if (name === undefined) throw new TunnelError('FRAME_INVALID', 'a lookup names no host', { hop: 'agent' })
    try {
      stream.accept({}, encodeAddresses(await this.#names.resolve(name, whose, gone.signal)), true)
    } catch (error) {
      throw asTunnelError(error, 'agent')
    }
  }
}
