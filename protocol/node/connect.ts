import { lookup } from 'node:dns'
import { connect as connectTcp, isIP, type Socket } from 'node:net'

export interface ConnectOptions {
  host: string
  port: number
  /** @default false */
  allowHalfOpen?: boolean
  /** Finds the addresses of a name, in the order of preference. */
  resolve?: (host: string) => Promise<readonly Address[]>
  /** @default net.connect */
  connect?: (options: { host: string; port: number; noDelay: boolean; allowHalfOpen: boolean }) => Socket
}

export interface Address {
  address: string
  family: number
}

type Done = (error: Error | null, socket?: Socket) => void

/** RFC 8305, section 5. */
const STAGGER_MS = 250

/**
 * Connects to a name that may have several addresses (happy eyeballs, RFC 8305): each is begun a moment after the one
 * before it, none is given up for being slow, and the first that answers is taken. Node's own `autoSelectFamily` gives
 * each address 250 ms alone, in which a slow network connects to none. Returns what calls the attempts off.
 */
export function connectToAny(options: ConnectOptions, done: Done): () => void {
  const { host, port, allowHalfOpen = false, resolve = lookupAll, connect = connectTcp } = options
  const sockets = new Set<Socket>()
  let timer: NodeJS.Timeout | undefined
  let waiting: Address[] = []
  let failed: Error | undefined
  let isOver = false

  const end = (error: Error | null, winner?: Socket): void => {
    if (isOver) return
    isOver = true
    clearTimeout(timer)
    for (const socket of sockets) if (socket !== winner) socket.destroy()
    done(error, winner)
  }
  const next = (): void => {
    clearTimeout(timer)
    const address = waiting.shift()
    if (address === undefined) {
      if (sockets.size === 0) end(failed ?? new Error(`${host} has no address`))
      return
    }
    const socket = connect({ host: address.address, port, noDelay: true, allowHalfOpen })
    sockets.add(socket)
    const onError = (error: Error): void => {
      sockets.delete(socket)
      // What the preferred address says is told, when all fail.
      failed ??= error
      if (!isOver) next()
    }
    socket.once('error', onError)
    socket.once('connect', () => {
      if (isOver) return
      socket.off('error', onError)
      end(null, socket)
    })
    if (waiting.length > 0) timer = setTimeout(next, STAGGER_MS)
  }
  resolve(host).then((found) => {
    if (isOver) return
    waiting = interleaved(found)
    next()
  }, end)
  return () => end(new Error('the dial was called off'))
}

/** The families in turn, so that one which does not work costs one moment alone. */
export function interleaved(addresses: readonly Address[]): Address[] {
  const first = addresses[0]?.family
  const ours = addresses.filter(({ family }) => family === first)
  const others = addresses.filter(({ family }) => family !== first)
  return ours
    .flatMap((address, index) => [address, ...(others[index] ? [others[index]] : [])])
    .concat(others.slice(ours.length))
}

const underWay = new Map<string, Promise<readonly Address[]>>()

/**
 * The addresses of a name, in the order of preference. Whoever asks for one that is being looked up waits for the same
 * answer: each lookup holds a thread for as long as the resolver takes.
 */
export function lookupAll(host: string): Promise<readonly Address[]> {
  const family = isIP(host)
  if (family !== 0) return Promise.resolve([{ address: host, family }])
  const known = underWay.get(host)
  if (known !== undefined) return known
  const found = new Promise<readonly Address[]>((resolve, reject) => {
    lookup(host, { all: true }, (error, addresses) => {
      underWay.delete(host)
      if (error === null) resolve(addresses)
      else reject(error)
    })
  })
  underWay.set(host, found)
  return found
}
