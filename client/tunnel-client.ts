import { type FetchInit, tunnelFetch } from './fetch.ts'
import type { ForwardRequest } from './forward-request.ts'
import type { ForwardResponse } from './forward-response.ts'
import { Lifecycle } from './lifecycle.ts'
import { listMachines, type Machine } from './machines.ts'
import type { DuplexPath } from './opening.ts'
import { QueuedRequest } from './queue/queued-request.ts'

/** The part of a client that runs on every platform: a link that is kept, and the requests that go over it. */
export class TunnelClient extends Lifecycle {
  /** One HTTP request and its whole answer. @throws {TunnelError} */
  async forwardRequest(request: ForwardRequest): Promise<ForwardResponse> {
    return this.enqueue(request).response
  }

  /** The same, for whoever wants to know when it is accepted: from then on it has exactly one outcome, whatever dies. */
  enqueue(request: ForwardRequest): QueuedRequest {
    const id = request.idempotencyKey ?? crypto.randomUUID()
    const run = (accepted: () => void) => {
      const parts = this.usable()
      // Thousands may wait, and each promise of a wait is memory.
      if (!(parts instanceof Promise)) return parts.forwarding.send(request, id, accepted)
      return parts.then(({ forwarding }) => forwarding.send(request, id, accepted))
    }
    return new QueuedRequest(id, run, (error) => this.emit('error', error))
  }

  /** As the global `fetch`, for `http://MACHINE:PORT/path`; bodies stream both ways, at the reader's pace. */
  readonly fetch = async (input: string | URL | Request, init?: FetchInit): Promise<Response> => {
    const { path, settings } = await this.usable()
    return tunnelFetch(path, settings.request.timeoutMs, input, init)
  }

  /** The caller's machines. Needs no link. @throws {TunnelError} */
  async machines(): Promise<Machine[]> {
    const { settings } = await this.prepare()
    const { timeoutMs } = settings.request
    return listMachines(this.addresses, this.options.token, timeoutMs, this.platform.fetchBy(settings))
  }

  /** @throws {TunnelError} when nothing can be opened */
  protected async way(): Promise<DuplexPath> {
    const { path, settings } = await this.usable()
    return { path, opener: () => this.opener(), defaultTimeoutMs: settings.request.timeoutMs }
  }
}
