// Creates MongoDB's users: `root` may do everything, `gateway` may only use the database `toteboard`. Runs at every
// start, with the server already requiring passwords. While there are no users, MongoDB lets a client on 127.0.0.1
// create one. That is the case for an empty volume, and for one from before passwords were introduced.
const fs = require("fs");
const password = (name) => fs.readFileSync(`/run/secrets/${name}-password`, "utf8");

const connection = new Mongo("mongodb://127.0.0.1:27017/?directConnection=true");
const admin = connection.getDB("admin");
try {
    admin.createUser({ user: "root", pwd: password("root"), roles: ["root"] });
    print("made the user root");
} catch (error) {
    // A user exists already. If it isn't this one, signing in fails.
}
admin.auth("root", password("root"));

const database = connection.getDB("toteboard");
const gateway = { pwd: password("gateway"), roles: ["readWrite"] };
if (database.getUser("gateway") === null) {
    database.createUser({ user: "gateway", ...gateway });
    print("made the user gateway");
} else {
    database.updateUser("gateway", gateway);
}
