import { errors as undiciErrors } from 'undici'
import { asTunnelError, TunnelError } from '../../protocol/codec/errors.ts'
import { parseTarget, type Target } from '../../protocol/codec/target.ts'

export function hookTimeout(name: string, timeoutMs: number): TunnelError {
  return new TunnelError('TIMEOUT', `a plugin's ${name} hook took longer than ${timeoutMs} ms`, {
    hop: 'proxy',
  })
}

export function hookFailed(name: string, cause: unknown): TunnelError {
  return new TunnelError('INTERNAL', `a plugin's ${name} hook failed`, { hop: 'proxy', cause })
}

export function tokenOver(): TunnelError {
  return new TunnelError('TOKEN_EXPIRED', 'the token of this link has expired; send a new one', {
    hop: 'proxy',
  })
}

export function targetMissing(kind: string): TunnelError {
  return new TunnelError('FRAME_INVALID', `${kind} needs a target: host:port on the machine's side`, {
    hop: 'proxy',
  })
}

/** @throws {TunnelError} FRAME_INVALID for what is no target */
export function targetOf(text: string): Target {
  const target = parseTarget(text)
  if (target === undefined)
    throw new TunnelError('FRAME_INVALID', `"${text.slice(0, 80)}" is no host:port`, { hop: 'proxy' })
  return target
}

export function methodRefused(method: string): TunnelError {
  return new TunnelError('FRAME_INVALID', `${method} is not carried as a request; open a tcp stream`, {
    hop: 'proxy',
  })
}

export function kindUnknown(kind: string): TunnelError {
  return new TunnelError('FRAME_INVALID', `streams of kind ${kind} are not served here`, { hop: 'proxy' })
}

export function targetClosed(target: string): TunnelError {
  return new TunnelError('CONNECT_REFUSED', `${target} closed the connection while bytes were on their way`, {
    hop: 'target',
  })
}

export function commandLost(machine: string): TunnelError {
  return new TunnelError('AGENT_LOST', `the command on ${machine} ended without a status`, { hop: 'ssh' })
}

export function headTimeout(target: string, timeoutMs: number): TunnelError {
  return new TunnelError('TIMEOUT', `${target} sent no response within ${timeoutMs} ms`, { hop: 'target' })
}

export function requestGone(): TunnelError {
  return new TunnelError('ABORTED', 'the request was given up')
}

/** What undici threw: by its code, for its texts change. */
export function exchangeFailed(error: unknown, target: string): TunnelError {
  if (error instanceof TunnelError) return error
  const code = typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : ''
  const text = error instanceof Error ? error.message : String(error)
  if (code === 'UND_ERR_SOCKET' || code === 'ECONNRESET' || code === 'UND_ERR_INFO') {
    return new TunnelError(
      'CONNECT_REFUSED',
      `${target} closed the connection before its response was complete`,
      {
        hop: 'target',
        cause: error,
      },
    )
  }
  if (
    error instanceof undiciErrors.HTTPParserError ||
    code === 'UND_ERR_HEADERS_OVERFLOW' ||
    code === 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH'
  ) {
    return new TunnelError('CONNECT_REFUSED', `${target} does not answer in HTTP/1.1: ${text}`, {
      hop: 'target',
      cause: error,
    })
  }
  if (
    code === 'UND_ERR_INVALID_ARG' ||
    code === 'UND_ERR_NOT_SUPPORTED' ||
    code === 'UND_ERR_REQ_CONTENT_LENGTH_MISMATCH'
  ) {
    return new TunnelError('FRAME_INVALID', `the request cannot be sent: ${text}`, {
      hop: 'proxy',
      cause: error,
    })
  }
  return asTunnelError(error, 'INTERNAL', 'proxy')
}
