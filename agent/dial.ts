import { connect, type Socket } from 'node:net'
import { TunnelError } from '../protocol/codec/errors.ts'
import type { Target } from '../protocol/codec/target.ts'
import { type ConnectOptions, connectToAny, lookupAll } from '../protocol/node/connect.ts'
import { isLoopbackV4 } from './source-address.ts'

/** How long a target has to answer, in ms. */
const CONNECT_MS = 10_000

/**
 * @param source the address of loopback to dial from where the target is there and the system has it
 * @throws {TunnelError} CONNECT_REFUSED, DNS_FAILED, TIMEOUT
 */
export async function dialTarget(target: Target, source?: string): Promise<Socket> {
  if (source === undefined) return await dial(target, {})
  try {
    return await dial(target, from(source))
  } catch (error) {
    const { code } = ((error as Error).cause ?? {}) as NodeJS.ErrnoException
    if (code !== 'EADDRNOTAVAIL') throw error
    return await dial(target, {})
  }
}

type Way = Pick<ConnectOptions, 'resolve' | 'connect'>

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
function from(localAddress: string): Way {
  return {
    resolve: async (name) => [...(await lookupAll(name))].sort((a, b) => a.family - b.family),
    connect: (to) => connect(isLoopbackV4(to.host) ? { ...to, localAddress } : to),
  }
}

function dialError(target: string, error: NodeJS.ErrnoException): TunnelError {
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
