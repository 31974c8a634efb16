import { connect, isIP, type Socket } from 'node:net'
import { TunnelError } from '../protocol/codec/errors.ts'
import type { Target } from '../protocol/codec/target.ts'
import { isMetadata } from '../protocol/node/addresses.ts'
import { type Address, type ConnectOptions, connectToAny, lookupAll } from '../protocol/node/connect.ts'
import { isLoopbackV4 } from './source-address.ts'

/** How long a target has to answer, in ms. */
const CONNECT_MS = 10_000

/**
 * @param source the address of loopback to dial from where the target is there and the system has it
 * @throws {TunnelError} CONNECT_REFUSED, DNS_FAILED, TIMEOUT
 */
export async function dialTarget(target: Target, source?: string, lookup = lookupAll): Promise<Socket> {
  const way = { resolve: (name: string) => find(name, lookup) }
  if (source === undefined) return await dial(target, way)
  try {
    return await dial(target, from(source, way))
  } catch (error) {
    const { code } = ((error as Error).cause ?? {}) as NodeJS.ErrnoException
    if (code !== 'EADDRNOTAVAIL') throw error
    return await dial(target, way)
  }
}

/** What a name stands for, looked up once: it may lead anywhere by the next time. @throws {TunnelError} POLICY_DENIED */
async function find(name: string, lookup: typeof lookupAll): Promise<readonly Address[]> {
  const addresses = await lookup(name)
  // An address is its owner's own word.
  if (isIP(name) === 0 && addresses.some(({ address }) => isMetadata(address))) throw leadsToMetadata(name)
  return addresses
}

type Way = Required<Pick<ConnectOptions, 'resolve'>> & Pick<ConnectOptions, 'connect'>

function dial({ host, port, authority }: Target, way: Way): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      const message = `${authority} did not answer within ${CONNECT_MS / 1_000} s`
      reject(new TunnelError('TIMEOUT', message, { hop: 'agent' }))
      callOff()
    }, CONNECT_MS)
    const callOff = connectToAny({ host, port, allowHalfOpen: true, ...way }, (error, socket) => {
      clearTimeout(timer)
      if (socket !== undefined) resolve(socket)
      else reject(dialError(authority, error ?? new Error('no address')))
    })
  })
}

/** IPv4 first: IPv6 has one loopback address, and so cannot tell users apart. */
function from(localAddress: string, { resolve }: Way): Way {
  return {
    resolve: async (name) => [...(await resolve(name))].sort((a, b) => a.family - b.family),
    connect: (to) => connect(isLoopbackV4(to.host) ? { ...to, localAddress } : to),
  }
}

function leadsToMetadata(name: string): TunnelError {
  const message = `${name} leads to a metadata address on the machine, which is never reached`
  return new TunnelError('POLICY_DENIED', message, { hop: 'agent' })
}

function dialError(target: string, error: NodeJS.ErrnoException): TunnelError {
  if (error instanceof TunnelError) return error
  const options = { cause: error, hop: 'agent' } as const
  if (error.code === 'ENOTFOUND' || error.code === 'EAI_AGAIN') {
    return new TunnelError(
      'DNS_FAILED',
      `the name in ${target} could not be resolved on the machine`,
      options,
    )
  }
  if (error.code === 'ECONNREFUSED') {
    return new TunnelError('CONNECT_REFUSED', `nothing listens at ${target} on the machine`, options)
  }
  return new TunnelError(
    'CONNECT_REFUSED',
    `${target} could not be reached from the machine (${error.code})`,
    options,
  )
}
