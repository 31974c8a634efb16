import { isIP } from 'node:net'
import type { Duplex } from 'node:stream'
import { canonicalHost, isLoopbackHost, isMetadata } from '../../protocol/node/addresses.ts'
import { type Address, connectToAny, lookupAll } from '../../protocol/node/connect.ts'
import { isOwnAddress } from '../../protocol/node/own-addresses.ts'
import { hostForbidden, hostSilent, hostUnreachable } from './errors.ts'
import type { ConfiguredMachine } from './options.ts'

/** How long a configured host has to answer, in ms. */
const TCP_CONNECT_MS = 10_000

/** Finds the addresses of a name. */
export type Lookup = (host: string) => Promise<readonly Address[]>

/**
 * A TCP connection to the configured host `name`. What its address stands for is looked up once, checked, and dialled by
 * that. What goes wrong is told by its name alone: who may use it need not know where it is.
 * @throws {TunnelError} DNS_FAILED, CONNECT_REFUSED, TIMEOUT; POLICY_DENIED where a name leads to this proxy itself or to
 * a metadata service
 */
export function dialTcp(
  name: string,
  { host, port }: Pick<ConfiguredMachine, 'host' | 'port'>,
  lookup: Lookup = lookupAll,
): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const late = (): void => {
      reject(hostSilent(name))
      callOff()
    }
    const timer = setTimeout(late, TCP_CONNECT_MS)
    const find = async (asked: string) => checked(name, asked, await lookup(asked))
    const callOff = connectToAny({ host, port, resolve: find }, (error, socket) => {
      clearTimeout(timer)
      if (socket === undefined) return reject(hostUnreachable(name, error ?? new Error('no address')))
      // Whoever uses the socket listens too, but perhaps not at once.
      resolve(socket.on('error', () => {}))
    })
  })
}

/** @throws {TunnelError} POLICY_DENIED */
function checked(name: string, host: string, addresses: readonly Address[]): readonly Address[] {
  // An address, and `localhost`, are the operator's own word; what a name means is that of whoever answers for it.
  const isGiven = isIP(host) !== 0 || host === 'localhost'
  const isForbidden = ({ address }: Address): boolean => isMetadata(address) || (!isGiven && isHere(address))
  if (addresses.some(isForbidden)) throw hostForbidden(name)
  return addresses
}

/** An address of the computer that this proxy runs on. */
function isHere(address: string): boolean {
  const host = canonicalHost(address)
  return isLoopbackHost(host) || isOwnAddress(host)
}
