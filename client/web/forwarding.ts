import type { TunnelError } from '../../protocol/codec/errors.ts'
import type { ForwardRequest } from '../forward-request.ts'
import type { ForwardResponse } from '../forward-response.ts'
import type { ClientSettings } from '../options.ts'
import { loaded } from '../part.ts'
import type { Forwarding as InPrograms } from '../queue/forwarding.ts'
import type { RequestKeeper } from '../queue/keeper.ts'
import type { RequestPath } from '../request.ts'

/** What a page does without that only fetches. */
const load = () => loaded(import('../queue/forwarding.ts'))

/** Fetches it behind a page's back while there is a network: a request may be made when there is none. */
export function loadForwarding(): void {
  load().catch(() => {})
}

/** Bundles for browsers have this in place of queue/forwarding.ts, which is loaded with the first request. */
export class Forwarding implements Pick<InPrograms, 'send' | 'keepRest' | 'close'> {
  readonly #parts: ConstructorParameters<typeof InPrograms>
  #forwarding: InPrograms | undefined
  #cutWith: TunnelError | undefined

  constructor(path: RequestPath, settings: ClientSettings, kept: RequestKeeper | undefined) {
    this.#parts = [path, settings, kept]
  }

  async send(request: ForwardRequest, id: string, accepted: () => void): Promise<ForwardResponse> {
    if (this.#forwarding === undefined) {
      const part = await load()
      if (this.#cutWith !== undefined) throw this.#cutWith
      this.#forwarding ??= new part.Forwarding(...this.#parts)
    }
    return this.#forwarding.send(request, id, accepted)
  }

  keepRest(error: TunnelError): void {
    this.#cutWith = error
    this.#forwarding?.keepRest(error)
  }

  async close(): Promise<void> {
    await (this.#forwarding ?? this.#parts[2])?.close()
  }
}
