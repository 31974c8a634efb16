import type { Socket } from 'node:net'
import { TunnelError } from '../protocol/codec/errors.ts'
import type { Target } from '../protocol/codec/target.ts'
import { connectToAny } from '../protocol/node/connect.ts'

/** How long a target has to answer, in ms. */
const CONNECT_MS = 10_000

/** @throws {TunnelError} CONNECT_REFUSED, DNS_FAILED, TIMEOUT */
export function dialTarget({ host, port, authority: target }: Target): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      const message = `${target} did not answer within ${CONNECT_MS / 1_000} s`
      reject(new TunnelError('TIMEOUT', message, { hop: 'agent' }))
      callOff()
    }, CONNECT_MS)
    const callOff = connectToAny({ host, port, allowHalfOpen: true }, (error, socket) => {
      clearTimeout(timer)
      if (socket !== undefined) resolve(socket)
      else reject(dialError(target, error ?? new Error('no address')))
    })
  })
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
