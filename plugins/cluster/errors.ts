import { TunnelError } from '../../protocol/codec/errors.ts'

export function notAnUpgrade(): TunnelError {
  return new TunnelError('VERSION_UNSUPPORTED', 'this route is a WebSocket of the subprotocol tunnel.v1', {
    hop: 'proxy',
  })
}

export function notAReplica(said: string): TunnelError {
  return new TunnelError('FRAME_INVALID', `HELLO says ${said.slice(0, 20)} on a link between replicas`, {
    hop: 'proxy',
  })
}

export function proofWrong(): TunnelError {
  const text = 'the peer does not know the secret of this cluster (cluster.secret)'
  return new TunnelError('FORBIDDEN', text, { hop: 'proxy' })
}

export function proofMissing(ms: number): TunnelError {
  return new TunnelError('TIMEOUT', `the peer did not prove within ${ms / 1_000} s that it is a replica`, {
    hop: 'proxy',
  })
}

export function notProved(): TunnelError {
  return new TunnelError('FORBIDDEN', 'this link accepts nothing before its peer has proved itself', {
    hop: 'proxy',
  })
}

export function idTwice(id: string): TunnelError {
  return new TunnelError('CONFIG_INVALID', `two replicas have the id ${id}: give each its own (cluster.id)`, {
    hop: 'proxy',
  })
}

export function tooManyStrangers(): TunnelError {
  const text = 'many have dialled this replica without a proof that they are replicas'
  return new TunnelError('TOO_MANY_CONNECTIONS', text, { hop: 'proxy', retryAfterMs: 1_000 })
}

/** Its peer is this process itself. */
export function isSelf(): TunnelError {
  return new TunnelError('ABORTED', 'this is the replica itself', { hop: 'proxy' })
}

export function linkedAlready(id: string): TunnelError {
  return new TunnelError('ABORTED', `there is another link to ${id}`, { hop: 'proxy' })
}

export function messageInvalid(what: string): TunnelError {
  return new TunnelError('FRAME_INVALID', `MESH ${what}`, { hop: 'proxy' })
}

/** @param where address and port of whoever has come */
export function certificateMissing(where: string): TunnelError {
  return new TunnelError('CERTIFICATE_UNTRUSTED', `${where} shows no certificate`, { hop: 'proxy' })
}

/** The same for its peer. */
export function certificateRefused({ code, message }: TunnelError): TunnelError {
  const text = `the replica there does not take the certificate of this one (cluster.tls): ${message}`
  return new TunnelError(code, text, { hop: 'proxy' })
}

/** Why nobody is reached at `url`. A listener that has TLS ends what is none without a word. */
export function notReached(url: string, { code, message }: TunnelError): { code: string; reason: string } {
  const mayHaveTls = code === 'LINK_LOST' && url.startsWith('http:')
  const hint = mayHaveTls ? '; where there is TLS (cluster.tls), its address begins with https://' : ''
  return { code, reason: `${message}${hint}` }
}

/** How a TLS handshake begins (RFC 8446, section 5.1). */
const TLS_HANDSHAKE = 22

/** What has come is not how a link between replicas begins: no TLS where there has to be, or TLS where there is none. */
export function notOfReplicas(
  where: string,
  { code = '', rawPacket }: { code?: string; rawPacket?: Buffer },
): TunnelError {
  const options = { hop: 'proxy' } as const
  if (code.startsWith('ERR_SSL_') || code.startsWith('ERR_TLS_'))
    return new TunnelError(
      'TLS_FAILED',
      `${where} does not speak TLS as cluster.tls asks for (${code})`,
      options,
    )
  if (rawPacket?.[0] === TLS_HANDSHAKE)
    return new TunnelError('TLS_FAILED', `${where} speaks TLS, and there is none here (cluster.tls)`, options)
  return new TunnelError('REQUEST_INVALID', `${where} does not speak HTTP (${code})`, options)
}

/** A start that is refused. */
export function cannotListen(port: number, cause: unknown): TunnelError {
  return new TunnelError('CONFIG_INVALID', `cluster.port = ${port}: ${(cause as Error).message}`, {
    hop: 'proxy',
    cause,
  })
}

/** Workers of replicas on several hosts. */
export function portsMissing(): TunnelError {
  const text =
    'cluster.enabled with --workers needs cluster.port and cluster.url: each worker has the next port of both'
  return new TunnelError('CONFIG_INVALID', text, { hop: 'proxy' })
}
