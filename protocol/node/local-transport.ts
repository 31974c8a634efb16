import type { Socket } from 'node:net'
import type { Transport } from '../link/transport.ts'
import { RecordTransport } from './record-transport.ts'

/** A Unix socket as a link's transport, between two programs of one user: nothing is negotiated. */
export function localTransport(socket: Socket, maxFrameBytes: number): Transport {
  const transport = new RecordTransport('local', socket, socket, maxFrameBytes)
  socket.on('data', (chunk) => transport.received(chunk))
  return transport
}
