import type { IncomingMessage } from 'node:http'
import type { connect } from 'node:net'
import type { Duplex } from 'node:stream'
import { WebSocket } from 'ws'
import { TunnelError } from '../codec/errors.ts'
import { SUBPROTOCOL } from '../codec/hello.ts'
import { connectionFailure } from '../link/connection-failure.ts'
import { redirected, refusalOf, UpgradeLost } from '../link/dial-failure.ts'
import { BUSY_FACTOR, type DialOptions, MAX_REFUSAL_BYTES, type Transport } from '../link/transport.ts'
import { WayOut } from './way-out.ts'
import { WebSocketTransport } from './websocket.ts'

/**
 * Dials a WebSocket of the subprotocol tunnel.v1, through an HTTP proxy where one is on the way.
 * @throws {TunnelError} what a refused upgrade's problem document says, what stands in the way (CERTIFICATE_…, TLS_FAILED,
 * HTTP_PROXY_…), or CONNECT_REFUSED, DNS_FAILED, LINK_LOST, TIMEOUT, ABORTED, CONFIG_INVALID
 */
export async function dialWebSocket(url: string, options: DialOptions): Promise<Transport> {
  const { headers, timeoutMs, maxFrameBytes, signal, compression, reach, address } = options
  const wayOut = await WayOut.to(url, reach, address)
  const { host } = new URL(url)
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(aborted())
    let socket: Duplex | undefined
    const dial = new AbortController()
    let isConnected = false
    const connected = () => {
      isConnected = true
      wait(BUSY_FACTOR * timeoutMs)
    }
    const webSocket = new WebSocket(url, SUBPROTOCOL, {
      ...(headers === undefined ? {} : { headers }),
      maxPayload: maxFrameBytes,
      perMessageDeflate: compression === undefined ? false : { threshold: compression.thresholdBytes },
      createConnection: WayOut.joined(() =>
        wayOut.open({ signal: dial.signal, connected }),
      ) as unknown as typeof connect,
    })
    const onAbort = (): void => fail(aborted())
    signal?.addEventListener('abort', onAbort, { once: true })
    let timer: NodeJS.Timeout | undefined
    const wait = (ms: number): void => {
      clearTimeout(timer)
      const text = `${host} did not answer within ${ms / 1_000} s`
      const late = () =>
        isConnected
          ? new UpgradeLost(text, false, 'TIMEOUT')
          : new TunnelError('TIMEOUT', text, { hop: 'proxy' })
      timer = setTimeout(() => fail(late()), ms)
    }
    wait(timeoutMs)
    const settle = (): void => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      webSocket.off('error', onError)
    }
    const fail = (error: TunnelError): void => {
      settle()
      webSocket.on('error', () => {})
      dial.abort()
      webSocket.terminate()
      reject(error)
    }
    const onError = (error: Error): void => fail(connectionFailure(host, error))
    webSocket.on('error', onError)
    webSocket.once('upgrade', (response) => {
      socket = response.socket
      // No keystroke may wait for the acknowledgement of the one before it.
      response.socket.setNoDelay(true)
    })
    webSocket.once('unexpected-response', (_request, response) => {
      void refusal(url, response).then(fail)
    })
    webSocket.once('open', () => {
      settle()
      // Before any message can be emitted: nothing is received until the caller has made its link of it.
      resolve(new WebSocketTransport(webSocket, socket, compression))
    })
  })
}

function aborted(): TunnelError {
  return new TunnelError('ABORTED', 'the dial was called off', { hop: 'client' })
}

/** What was answered in place of an upgrade. */
async function refusal(url: string, response: IncomingMessage): Promise<TunnelError> {
  const status = response.statusCode ?? 0
  if (status >= 300 && status < 400) {
    response.resume()
    return redirected(url, status, response.headers.location)
  }
  const chunks: Buffer[] = []
  let size = 0
  try {
    for await (const chunk of response) {
      size += (chunk as Buffer).length
      if (size > MAX_REFUSAL_BYTES) break
      chunks.push(chunk as Buffer)
    }
  } catch {
    // As much of it as there is; its status says the rest.
  }
  return refusalOf(url, status, Buffer.concat(chunks).toString())
}
