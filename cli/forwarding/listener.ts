import { once } from 'node:events'
import { existsSync, lstatSync, unlinkSync } from 'node:fs'
import { connect, createServer, type ListenOptions, type Server, type Socket } from 'node:net'
import { dirname } from 'node:path'
import { fileReason } from '../../protocol/node/file-reason.ts'
import { LocalError } from '../failure.ts'
import { hostPort, type LocalAddress } from './local-address.ts'

/** Both halves of a connection end for themselves; a peer that has vanished is noticed in the end. */
const SERVER = { allowHalfOpen: true, noDelay: true, keepAlive: true } as const
/** How often another port is tried where it is free for one family of addresses alone. */
const PORT_TRIES = 10
/** What a family of addresses that this computer does not have answers. */
const NO_FAMILY: ReadonlySet<unknown> = new Set(['EAFNOSUPPORT', 'EADDRNOTAVAIL', 'EINVAL'])
/** Only the person who listens may connect (ssh's StreamLocalBindMask). */
const SOCKET_MASK = 0o177
/** What the system's sockaddr_un holds, less its final zero. */
const MAX_PATH_BYTES = process.platform === 'linux' ? 107 : 103

export interface ListenerEvents {
  connection(socket: Socket): void
  /** A connection could not be accepted; the listener goes on. */
  error(error: Error): void
}

/** One local address that is listened at: a socket, or one port of one or two addresses. */
export class Listener {
  /** As a person writes them: `127.0.0.1:5432`, `[::1]:5432`, a path. */
  readonly names: readonly string[]
  readonly #servers: readonly Server[]

  private constructor(servers: readonly Server[]) {
    this.#servers = servers
    this.names = servers.map(nameOf)
  }

  /** @throws {LocalError} why nobody can listen there; then nothing listens */
  static async open(address: LocalAddress, events: ListenerEvents): Promise<Listener> {
    try {
      const { kind } = address
      return new Listener(
        kind === 'unix' ? await openSocket(address, events) : await openPort(address, events),
      )
    } catch (error) {
      throw listenError(address, error as NodeJS.ErrnoException)
    }
  }

  /** Nobody can connect any more; what has connected stays. Safe to call twice. */
  close(): void {
    for (const server of this.#servers) server.close()
  }
}

async function openSocket(
  { path }: LocalAddress & { kind: 'unix' },
  events: ListenerEvents,
): Promise<Server[]> {
  // libuv would listen at the first part of it.
  if (Buffer.byteLength(path) > MAX_PATH_BYTES)
    throw Object.assign(new Error('too long'), { code: 'ENAMETOOLONG' })
  const bind = (): Promise<Server> => masked(() => listen({ path }, events))
  try {
    return [await bind()]
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE' || !(await isAbandoned(path))) throw error
    unlinkSync(path)
    return [await bind()]
  }
}

async function openPort(
  { host, port }: LocalAddress & { kind: 'tcp' },
  events: ListenerEvents,
): Promise<Server[]> {
  for (let left = port === 0 ? PORT_TRIES : 1; ; left--) {
    try {
      return await listenAt(host, port, events)
    } catch (error) {
      if (left === 1) throw error
    }
  }
}

async function listenAt(host: string | undefined, port: number, events: ListenerEvents): Promise<Server[]> {
  if (host !== undefined && host !== '*') return [await listen({ host, port }, events)]
  if (host === '*') {
    // Takes IPv4 as well, where there is IPv6.
    const any = await listen({ host: '::', port }, events).catch(unlessNoFamily)
    return [any ?? (await listen({ host: '0.0.0.0', port }, events))]
  }
  const first = await listen({ host: '127.0.0.1', port }, events)
  try {
    const { port: same } = first.address() as { port: number }
    // Else another program could have the port of what many take for the same address.
    const second = await listen({ host: '::1', port: same }, events).catch(unlessNoFamily)
    return second === undefined ? [first] : [first, second]
  } catch (error) {
    first.close()
    throw error
  }
}

function unlessNoFamily(error: NodeJS.ErrnoException): undefined {
  if (!NO_FAMILY.has(error.code)) throw error
}

async function listen(options: ListenOptions, events: ListenerEvents): Promise<Server> {
  const server = createServer(SERVER, (socket) => events.connection(socket))
  server.listen(options)
  await once(server, 'listening')
  server.on('error', (error) => events.error(error))
  return server
}

/** Node binds a socket's path before `listen` returns. */
function masked<T>(bind: () => T): T {
  const before = process.umask(SOCKET_MASK)
  try {
    return bind()
  } finally {
    process.umask(before)
  }
}

/** Whether `path` is a socket at which nobody listens any more: what is left of a process that was killed. */
async function isAbandoned(path: string): Promise<boolean> {
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() !== true) return false
  const probe = connect({ path })
  try {
    await once(probe, 'connect')
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ECONNREFUSED'
  } finally {
    probe.destroy()
  }
}

function nameOf(server: Server): string {
  const bound = server.address()
  return typeof bound === 'object' && bound !== null ? hostPort(bound.address, bound.port) : String(bound)
}

function listenError(address: LocalAddress, cause: NodeJS.ErrnoException): LocalError {
  const where = address.kind === 'unix' ? address.path : `port ${address.port}`
  const host = address.kind === 'tcp' ? address.host : undefined
  const at = host === undefined ? where : `${where} of ${host}`
  switch (cause.code) {
    case 'EADDRINUSE':
      return new LocalError('ADDRESS_IN_USE', `${at} is in use by another program`, 'choose another', cause)
    case 'EACCES':
      if (address.kind === 'tcp')
        return new LocalError('LISTEN_DENIED', `you may not listen on ${at}`, 'choose one above 1023', cause)
      // libuv says the same of a folder that is missing.
      if (existsSync(dirname(address.path)))
        return new LocalError('LISTEN_DENIED', `you may not make a socket at ${at}`, '', cause)
      return new LocalError('LISTEN_FAILED', `the folder of ${at} does not exist`, '', cause)
    case 'ENAMETOOLONG':
      return new LocalError(
        'LISTEN_FAILED',
        `the path of a socket has ${MAX_PATH_BYTES} bytes at most, and ${at} is longer`,
        '',
        cause,
      )
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return new LocalError('LISTEN_FAILED', `${host} is not an address of this computer`, '', cause)
    default:
      return new LocalError('LISTEN_FAILED', `nothing can listen at ${at} (${fileReason(cause)})`, '', cause)
  }
}
