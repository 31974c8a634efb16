/** PEM files, and the oldest version that is spoken. */
export interface TlsOptions {
  cert: string
  key: string
  minVersion: 'TLSv1.2' | 'TLSv1.3'
  /** Authorities, one of which has to vouch for each agent. */
  agentCa?: string | undefined
}

export interface SocketsOptions {
  /** Connections at once. Default: what the limit of descriptors leaves when an eighth of it is kept back. */
  max?: number | undefined
  /** Connections at once from one address, before authentication. Default: a quarter of `max`. */
  perAddress?: number | undefined
  /** A reverse proxy stands in front, with whose address everybody comes: `perAddress` does not hold. */
  behindProxy: boolean
  /** With which files the server was made. */
  tls?: TlsOptions | undefined
}
