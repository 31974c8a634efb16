import type { FastifyInstance } from 'fastify'
import type { Hello } from '../../protocol/hello.ts'
import { agentMayNotOpen, machineMissing, shuttingDown } from './errors.ts'
import type { Connection, Listener } from './listener.ts'

/** Agents' links: they bring a machine on line, and open nothing themselves. */
export class AgentListener implements Listener {
  readonly #app: FastifyInstance
  readonly #isDraining: () => boolean

  constructor(app: FastifyInstance, isDraining: () => boolean) {
    this.#app = app
    this.#isDraining = isDraining
  }

  accepted(): void {}

  open(): void {
    throw agentMayNotOpen()
  }

  resume(): void {
    throw agentMayNotOpen()
  }

  async ready({ link, context }: Connection, peer: Hello): Promise<void> {
    if (peer.machine === undefined || peer.enrol === undefined) throw machineMissing()
    if (this.#isDraining()) throw shuttingDown()
    const { user } = context
    await this.#app.policy.check({
      user,
      machine: peer.machine,
      owner: user.sub,
      mode: 'sealed',
      kind: 'agent',
    })
    if (link.closed) return
    await this.#app.machines.enrol(user.sub, peer.machine, peer.enrol, link)
    const { machine } = peer
    context.log.info({ context: { machine } }, 'machine on line')
    this.#app.audit.record({
      event: 'machine.enrolled',
      userId: user.sub,
      machine,
      correlationId: context.correlationId,
    })
  }

  closed({ link, context }: Connection): void {
    if (context.machine !== undefined) this.#app.machines.lost(context.user.sub, context.machine, link)
  }
}
