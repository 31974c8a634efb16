import { TunnelError } from '../codec/errors.ts'
import type { Link } from '../link/link.ts'
import type { StreamRequests as Accepting } from '../link/requests.ts'

/** A page accepts no streams: whatever its proxy asks for is refused. Bundles for browsers have this in place of link/requests.ts. */
export class StreamRequests implements Pick<Accepting, 'receive'> {
  readonly #link: Link

  constructor(link: Link) {
    this.#link = link
  }

  receive(_typeByte: number, number: number): void {
    this.#link.refuse(number, new TunnelError('FORBIDDEN', 'a page accepts no streams', { hop: 'link' }))
  }
}
