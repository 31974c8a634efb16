/** The protocol's bindings to Node: its streams and the WebSocket of `ws`. */
export { StreamDuplex, type StreamDuplexOptions } from './duplex.ts'
export { type CompressionChoice, type DialOptions, dialWebSocket, WebSocketTransport } from './websocket.ts'
