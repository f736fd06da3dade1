/**
 * The types of the client's modules.
 *
 * @module
 */

/**
 * @typedef {"idle" | "connecting" | "connected" | "draining" | "waiting" | "away" | "ended"} State
 *
 * @typedef {object} Usage an account's figures in the present period
 * @property {number} used_seconds below zero where more was credited by hand than is used
 * @property {number | null} limit_seconds null when unlimited
 * @property {number | null} remaining_seconds null when unlimited
 * @property {boolean} unlimited
 * @property {number} period_start epoch seconds
 * @property {number} period_end epoch seconds
 * @property {"organization" | "member"} scope whose limit binds
 * @property {number} overage_seconds seconds past the organization's limit that its plan bills
 *
 * @typedef {object} Snapshot
 * @property {State} state
 * @property {boolean} recording
 * @property {string} sessionId
 * @property {number} recordedSeconds seconds recorded by this client
 * @property {number} sessionSeconds seconds counted, as the server last said
 * @property {number} durableSeconds of those, the ones known to be in Postgres
 * @property {number} heldSeconds seconds kept for sending again, until they are durable
 * @property {number} countedThrough
 * @property {number} durableThrough
 * @property {number | null} retryAt when the next try to connect is due, on this clock
 * @property {Usage | null} usage
 *
 * @typedef {"idle" | "connecting" | "subscribed" | "connected" | "draining" | "waiting" | "away" | "ended"} WatchState
 *
 * @typedef {{ do: "token", request: number, refresh: boolean }} TokenNeeded ask for a token, then call `authorized`
 * @typedef {{ do: "open" }} Open open a socket
 * @typedef {{ do: "send", message: Record<string, unknown> }} Send
 * @typedef {{ do: "drop" }} Drop close the socket, and hear nothing more from it
 * @typedef {{ do: "emit", event: string, detail: Record<string, unknown> }} Emit
 * @typedef {TokenNeeded | Open | Send | Drop | Emit} Effect
 */

export {};
