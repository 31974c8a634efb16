import type { Socket } from 'node:net'
import type { Machine, TunnelService } from '../../client/index.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { nearest } from '../../protocol/nearest.ts'
import { collectInOneGo } from '../collector.ts'
import type { CommonOptions } from '../command.ts'
import { withTunnel } from '../connect.ts'
import { EXIT, LocalError } from '../failure.ts'
import { stopSignal } from '../stop.ts'
import { waitOut } from '../wait-out.ts'
import { Listener } from './listener.ts'
import type { LocalAddress } from './local-address.ts'
import { LocalConnections, reset } from './local-connections.ts'
import { Paths } from './paths.ts'
import type { Report } from './report.ts'
import type { Leg, Mode, Way } from './way.ts'

/** What is listened for, and what becomes of who connects. */
export interface Service {
  listen: LocalAddress
  machine: string
  /** Undefined where each connection names its own. */
  target?: string
  /** Undefined: the agent decides. */
  mode: Mode | undefined
  /** Carries one connection until it stands. What it throws is told, and ends the connection. */
  serve(socket: Socket, carry: Carry): Promise<void>
}

/** Joins a connection with the target; resolves when that has accepted. @throws {TunnelError} */
export type Carry = (leg: Pick<Leg, 'target' | 'accepted'> & { way: Way }) => Promise<void>

/**
 * Listens for all `services`, or for none; then connects, and carries connections until a signal ends the command or the
 * proxy can no longer be reached for a reason that waiting does not mend.
 * @throws what nobody could listen for, or what ended the connection to the proxy
 */
export async function serveAll(
  options: CommonOptions,
  services: readonly Service[],
  report: Report,
): Promise<number> {
  const stopped = stopSignal({ unattended: true })
  const server = new Server(report)
  try {
    for (const service of services) await server.listen(service)
    collectInOneGo()
    const carrying = withTunnel(options, (tunnel) => server.run(tunnel, stopped), {
      say: (line) => report.waiting(line),
      persistent: true,
    })
    // While it dials there is nothing to end in order.
    return await Promise.race([carrying, stopped.then(() => server.endedBefore())])
  } finally {
    server.close()
  }
}

class Server {
  readonly #report: Report
  readonly #connections = new LocalConnections()
  readonly #listeners: { listener: Listener; service: Service }[] = []
  readonly #connected: Promise<TunnelService>
  #start: (tunnel: TunnelService) => void = () => {}
  #paths: Paths | undefined

  constructor(report: Report) {
    this.#report = report
    this.#connected = new Promise((resolve) => {
      this.#start = resolve
    })
  }

  async listen(service: Service): Promise<void> {
    const listener = await Listener.open(service.listen, {
      connection: (socket) => void this.#serve(service, socket),
      error: (error) => this.#report.failed(notAccepted(error)),
    })
    this.#listeners.push({ listener, service })
  }

  async run(tunnel: TunnelService, stopped: Promise<unknown>): Promise<number> {
    const failed = new Promise<never>((_resolve, reject) => {
      tunnel.on('error', (error) => {
        if (tunnel.state === 'closed') reject(error)
        // The link stands: the token could not be renewed yet, and is asked for again.
        else this.#report.warn(error.code, error.message)
      })
    })
    const isStopped = stopped.then(() => true)
    const known = this.#checkMachines(tunnel).then(() => false)
    if (await Promise.race([known, failed, isStopped])) return EXIT.ok
    this.#paths = new Paths(tunnel, (state, message) => this.#report.link(state, message))
    for (const { listener, service } of this.#listeners) {
      const { machine, target, mode } = service
      this.#report.listening({
        listen: listener.names,
        machine,
        mode,
        ...(target !== undefined && { target }),
      })
    }
    this.#report.ready()
    this.#start(tunnel)
    await Promise.race([stopped, failed])
    this.close()
    return EXIT.ok
  }

  /** The end of a command that was stopped before it had a link; of any other, nothing. */
  endedBefore(): Promise<number> | number {
    return this.#paths === undefined ? EXIT.ok : new Promise<never>(() => {})
  }

  close(): void {
    for (const { listener } of this.#listeners) listener.close()
    this.#connections.close()
  }

  /** A mistyped name is told now, and not to the first program that connects. */
  async #checkMachines(tunnel: TunnelService): Promise<void> {
    // Where a gateway passes on WebSockets alone, each connection says so.
    const machines = await tunnel.machines().catch((): Machine[] | undefined => undefined)
    if (machines === undefined) return
    for (const name of new Set(this.#listeners.map(({ service }) => service.machine))) {
      const machine = machines.find((each) => name === each.name || name === `${each.owner}/${each.name}`)
      if (machine === undefined) throw machineUnknown(name, machines)
      if (!machine.online)
        this.#report.warn('MACHINE_OFFLINE', `${name} is off line now; connections fail until it is back`)
    }
  }

  async #serve(service: Service, socket: Socket): Promise<void> {
    const { machine } = service
    if (!this.#connections.admit(socket)) {
      const { max } = this.#connections
      const text = `${max} local connections are open, and one more was turned away`
      return this.#report.failed(new TunnelError('TOO_MANY_CONNECTIONS', text, { hop: 'client' }))
    }
    const gone = new AbortController()
    socket.once('close', () => gone.abort())
    const tunnel = await this.#connected
    // Somebody waits for the link.
    if (tunnel.state === 'reconnecting') tunnel.retryNow()
    let target = service.target
    const carry: Carry = async ({ way, accepted, ...leg }) => {
      target = leg.target
      const path = this.#paths?.watch(machine)
      const join = () =>
        way.join(tunnel, {
          machine,
          target: leg.target,
          socket,
          signal: gone.signal,
          accepted: () => {
            // One whose OPEN was lost with the link is opened again, and not resumed.
            path?.resumed()
            accepted?.()
          },
          suspended: () => path?.suspended(),
          resumed: () => path?.resumed(),
          abort: () => reset(socket),
          closed: (error) => {
            path?.over()
            if (error !== undefined && error.code !== 'ABORTED') this.#report.failed(error, machine, target)
          },
        })
      try {
        await waitOut(join, (line) => this.#report.waiting(line))
      } catch (error) {
        path?.over()
        throw error
      }
    }
    try {
      await service.serve(socket, carry)
    } catch (error) {
      if (!gone.signal.aborted) this.#report.failed(error, machine, target)
      // One that has been ended was told why, in its own protocol.
      if (!socket.writableEnded) reset(socket)
    }
  }
}

function machineUnknown(name: string, machines: readonly Machine[]): TunnelError {
  const meant = nearest(
    name,
    machines.map((machine) => machine.name),
  )
  const hint = meant === undefined ? '' : `; did you mean ${meant}?`
  return new TunnelError('MACHINE_UNKNOWN', `you have no machine named ${name}${hint}`, { hop: 'proxy' })
}

/** Newer versions of Node say so; others close the connection without a word. */
function notAccepted(error: NodeJS.ErrnoException): LocalError {
  const text = `a local connection could not be accepted (${error.code ?? error.message})`
  return new LocalError('ACCEPT_FAILED', text, '', error)
}
