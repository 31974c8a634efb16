import { connect, type Socket } from 'node:net'
import { TunnelError } from '../protocol/codec/errors.ts'
import type { Target } from '../protocol/codec/target.ts'

/** How long a target has to answer, in ms. */
const CONNECT_MS = 10_000

/** @throws {TunnelError} CONNECT_REFUSED, DNS_FAILED, TIMEOUT */
export function dialTarget({ host, port, authority: target }: Target): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, noDelay: true, allowHalfOpen: true })
    const fail = (error: TunnelError): void => {
      clearTimeout(timer)
      socket.off('error', onError)
      socket.on('error', () => {})
      socket.destroy()
      reject(error)
    }
    const timer = setTimeout(() => {
      fail(
        new TunnelError('TIMEOUT', `${target} did not answer within ${CONNECT_MS / 1_000} s`, {
          hop: 'agent',
        }),
      )
    }, CONNECT_MS)
    const onError = (error: NodeJS.ErrnoException): void => fail(dialError(target, error))
    socket.once('error', onError)
    socket.once('connect', () => {
      clearTimeout(timer)
      socket.off('error', onError)
      resolve(socket)
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
    return new TunnelError('CONNECT_REFUSED', `nobody listens at ${target} on the machine`, options)
  }
  return new TunnelError(
    'CONNECT_REFUSED',
    `${target} could not be reached from the machine (${error.code})`,
    options,
  )
}
