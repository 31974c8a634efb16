/** The protocol's bindings to Node: its streams and the WebSocket of `ws`. */

export type { CompressionChoice, Dial, DialOptions } from '../link/transport.ts'
export { dialWebSocket } from './dial-websocket.ts'
export { StreamDuplex, type StreamDuplexOptions } from './duplex.ts'
export { WebSocketTransport } from './websocket.ts'
