import { X509Certificate } from 'node:crypto'
import { readFileSync, unwatchFile, watchFile } from 'node:fs'
import type { Server as HttpServer } from 'node:http'
import { createSecureContext, type SecureContextOptions, type Server, type TLSSocket } from 'node:tls'
import type { TlsOptions } from './options.ts'

/** How often the files are looked at, in ms. */
const LOOK_MS = 2_000
/** Of a connection's TLS, in ms. */
const HANDSHAKE_MS = 10_000

function contextOf({ cert, key, minVersion, agentCa }: TlsOptions): SecureContextOptions {
  const files = { cert: readFileSync(cert), key: readFileSync(key) }
  return { ...files, minVersion, ...(agentCa !== undefined && { ca: readFileSync(agentCa) }) }
}

/** What an https server has to be made with. */
export function httpsOptions(tls: TlsOptions): object {
  const { agentCa } = tls
  // Whoever shows none is refused where one is needed: clients have none.
  const asking = agentCa === undefined ? {} : { requestCert: true, rejectUnauthorized: false }
  return { ...contextOf(tls), ...asking, handshakeTimeout: HANDSHAKE_MS }
}

/** Whether its peer has shown a certificate that one of the authorities has signed. */
export function hasCertificate(socket: TLSSocket): boolean {
  // Node calls a session that was resumed authorized also when no certificate was shown in it.
  return socket.authorized && Object.keys(socket.getPeerCertificate()).length > 0
}

export interface TlsListeners {
  reloaded(certificate: X509Certificate): void
  /** The former files are still used; one of them may have been replaced before the other. */
  failed(error: Error): void
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g

/** When the first of the certificates of a PEM file ends, as Unix time in seconds. */
function firstEnd(file: string): number {
  const ends = (readFileSync(file, 'latin1').match(CERTIFICATE) ?? []).map(
    (pem) => Date.parse(new X509Certificate(pem).validTo) / 1_000,
  )
  return Math.min(...ends)
}

/** When the certificates end that `tls` names, as Unix time in seconds: a whole chain is good for as long as each of it. */
export function endsOf({ cert, agentCa }: TlsOptions): ['server' | 'agentCa', number][] {
  const server = firstEnd(cert)
  return agentCa === undefined
    ? [['server', server]]
    : [
        ['server', server],
        ['agentCa', firstEnd(agentCa)],
      ]
}

/** Takes new files for new connections when they have changed; those that stand go on. Returns what ends that. */
export function followFiles(server: HttpServer, tls: TlsOptions, told: TlsListeners): () => void {
  const { cert, key, agentCa } = tls
  const reload = (): void => {
    try {
      const context = contextOf(tls)
      // A key that is not the certificate's would be found out by those who connect.
      createSecureContext(context)
      ;(server as unknown as Server).setSecureContext(context)
      told.reloaded(new X509Certificate(context.cert as Buffer))
    } catch (error) {
      told.failed(error as Error)
    }
  }
  const files = [cert, key, ...(agentCa === undefined ? [] : [agentCa])]
  for (const file of files) watchFile(file, { interval: LOOK_MS, persistent: false }, reload)
  return () => {
    for (const file of files) unwatchFile(file, reload)
  }
}
