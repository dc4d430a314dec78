// Makes MongoDB's users: `root`, who may do everything, and `gateway`, who may use the database `toteboard` only.
// It runs at every start, beside a server that asks for passwords. As long as there is no user at all, MongoDB lets
// one be made from 127.0.0.1: on an empty volume, and on one from before there were passwords.
const fs = require("fs");
const password = (name) => fs.readFileSync(`/run/secrets/${name}-password`, "utf8");

const connection = new Mongo("mongodb://127.0.0.1:27017/?directConnection=true");
const admin = connection.getDB("admin");
try {
    admin.createUser({ user: "root", pwd: password("root"), roles: ["root"] });
    print("made the user root");
} catch (error) {
    // There is a user already. If it isn't this one, signing in fails.
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
